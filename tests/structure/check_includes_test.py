#!/usr/bin/env python3
"""check_includes.py finds each kind of wrong include, and only those."""

import unittest

import check_includes

WHEEL = "/home/x/.cache/mledge/libtorch-2.13.0-cpu/include"


def ours(path):
    return f"/b/include/mledge_any/mledge/{path}"


def check(object_file, *headers, commands=()):
    text = f"{object_file}: #deps {len(headers)}, deps mtime 17 (VALID)\n"
    text += "".join(f"    {header}\n" for header in headers) + "\n"
    violations, count = check_includes.check(text, commands)
    assert count == 1
    return violations


def object_in(folder, target="mledge_x"):
    return f"{folder}/CMakeFiles/{target}.dir/file.cc.o"


class CheckIncludesTest(unittest.TestCase):

    def assert_refused(self, violations, *words):
        self.assertEqual(len(violations), 1, violations)
        for word in words:
            self.assertIn(word, violations[0])

    def assert_accepted(self, violations):
        self.assertEqual(violations, [])

    def test_accepts_what_each_folder_is_for(self):
        self.assert_accepted(check(
            object_in("client/torch"), f"{WHEEL}/torch/torch.h",
            "/usr/include/ATen/ATen.h", ours("client/local_trainer.h"),
            ours("core/parameters.h"), ours("model/package.h")))
        self.assert_accepted(check(
            object_in("client/grpc"), "/usr/include/grpcpp/grpcpp.h",
            "/usr/include/google/protobuf/message.h", ours("v1/task.pb.h")))
        self.assert_accepted(check(
            object_in("coordinator/storage"), "/usr/include/sqlite3.h"))
        self.assert_accepted(check(
            object_in("task"), "/usr/include/yaml-cpp/yaml.h"))
        self.assert_accepted(check(
            object_in("proto", "mledge_proto_grpc"),
            "/usr/include/grpcpp/grpcpp.h"))

    def test_refuses_protobuf_beside_libtorch(self):
        self.assert_refused(
            check(object_in("client/torch"), f"{WHEEL}/torch/torch.h",
                  "/usr/include/google/protobuf/message.h"), "Protobuf")

    def test_refuses_the_wheels_own_protobuf(self):
        self.assert_refused(
            check(object_in("client/torch"),
                  f"{WHEEL}/google/protobuf/message.h"), "Protobuf")

    def test_refuses_grpc_beside_libtorch(self):
        violations = check(object_in("client/torch"),
                           "/usr/include/grpcpp/grpcpp.h")
        self.assertEqual(len(violations), 2, violations)

    def test_refuses_spdlog_beside_libtorch(self):
        self.assert_refused(
            check(object_in("model/torch"), "/usr/include/spdlog/spdlog.h"),
            "spdlog")

    def test_refuses_fmt_beside_libtorch_also_the_wheels_own(self):
        self.assert_refused(
            check(object_in("model/torch"), "/usr/include/fmt/format.h"), "fmt")
        self.assert_refused(
            check(object_in("model/torch"), f"{WHEEL}/fmt/format.h"), "fmt")

    def test_refuses_protobuf_beside_libtorch_in_a_test(self):
        self.assert_refused(
            check(object_in("tests/client"), f"{WHEEL}/torch/torch.h",
                  "/usr/include/google/protobuf/message.h"), "Protobuf")

    def test_accepts_libtorch_alone_in_a_test(self):
        self.assert_accepted(
            check(object_in("tests/client"), f"{WHEEL}/torch/torch.h"))

    def test_refuses_libtorch_elsewhere(self):
        for header in ("torch/script.h", "ATen/ATen.h", "c10/util/Exception.h"):
            self.assert_refused(
                check(object_in("coordinator"), f"{WHEEL}/{header}"),
                "LibTorch", "/torch/")

    def test_refuses_libtorch_through_the_precompiled_header(self):
        object_file = object_in("coordinator")
        pch = "/b/x/CMakeFiles/mledge_libtorch_pch.dir/cmake_pch.hxx"
        command = {"command": f"c++ -include {pch} -o {object_file} -c x.cc"}
        self.assert_refused(check(object_file, commands=[command]), "LibTorch")

    def test_refuses_protobuf_beside_the_precompiled_header(self):
        object_file = object_in("client/torch")
        pch = "/b/x/CMakeFiles/mledge_libtorch_pch.dir/cmake_pch.hxx"
        command = {"command": f"c++ -include {pch} -o {object_file} -c x.cc"}
        self.assert_refused(
            check(object_file, ours("v1/task.pb.h"),
                  "/usr/include/google/protobuf/message.h",
                  commands=[command]), "Protobuf")

    def test_refuses_grpc_sqlite_and_yaml_elsewhere(self):
        for folder, header, name in (
                ("coordinator", "/usr/include/grpcpp/server.h", "gRPC"),
                ("coordinator/grpc", "/usr/include/sqlite3.h", "SQLite"),
                ("simulation", "/usr/include/yaml-cpp/yaml.h", "yaml-cpp")):
            self.assert_refused(check(object_in(folder), header), name)

    def test_refuses_arrows_that_point_the_wrong_way(self):
        for folder, header, module in (
                ("core", "v1/task.pb.h", "proto"),
                ("core", "task/parser.h", "task"),
                ("privacy", "aggregation/aggregator.h", "aggregation"),
                ("aggregation", "privacy/clipping.h", "privacy"),
                ("aggregation", "identity/pki.h", "identity"),
                ("client/grpc", "coordinator/round.h", "coordinator"),
                ("coordinator/storage", "client/uploader.h", "client"),
                ("client", "simulation/fleet.h", "simulation"),
                ("simulation", "cli/progress.h", "cli"),
                ("identity/grpc", "task/parser.h", "task")):
            self.assert_refused(check(object_in(folder), ours(header)),
                                f"{folder} must not know {module}")

    def test_accepts_arrows_that_point_the_right_way(self):
        for folder, header in (
                ("aggregation/secagg", "identity/pki.h"),
                ("model", "identity/pki.h"),
                ("client", "aggregation/quantizer.h"),
                ("simulation/torch", "coordinator/round.h"),
                ("cli", "simulation/fleet.h"),
                ("tests/core", "simulation/fleet.h")):
            self.assert_accepted(check(object_in(folder), ours(header)))

    def test_passes_over_objects_that_are_out_of_date(self):
        text = (f"{object_in('coordinator')}: #deps 1, deps mtime 17 (STALE)\n"
                f"    {WHEEL}/torch/torch.h\n\n")
        self.assertEqual(check_includes.check(text, []), ([], 0))


if __name__ == "__main__":
    unittest.main()
