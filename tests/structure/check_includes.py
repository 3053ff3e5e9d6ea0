#!/usr/bin/env python3
"""Fails where an object file saw a header that its folder must not see.

  check_includes.py BUILD_FOLDER

Reads what the compiler itself wrote down: the header lists that ninja keeps
(`ninja -t deps`), and the compile commands, because a precompiled header does
not show in those lists. Run it after a full build. Rules:

- LibTorch is seen in */torch/ only, and no object sees it together with
  Protobuf, gRPC, spdlog or fmt, be it the system's or the wheel's own.
- gRPC is seen in */grpc/ only, SQLite in */storage/, yaml-cpp in task/.
- Modules are seen along the arrows of arrows.py only.

Tests may see what they like, except that second rule about LibTorch.
"""

import json
import os
import re
import subprocess
import sys

import arrows

THIRD_PARTIES = {
    "LibTorch": re.compile(r"/include/(torch|ATen|c10|caffe2)/"
                           r"|mledge_libtorch_pch\.dir/"),
    "Protobuf": re.compile(r"/include/google/protobuf/"),
    "gRPC": re.compile(r"/include/(grpc|grpcpp|grpc\+\+)/"),
    "spdlog": re.compile(r"/include/spdlog/"),
    "fmt": re.compile(r"/include/fmt/"),
    "SQLite": re.compile(r"/sqlite3(ext)?\.h$"),
    "yaml-cpp": re.compile(r"/include/yaml-cpp/"),
}
NEVER_BESIDE_LIBTORCH = ("Protobuf", "gRPC", "spdlog", "fmt")
# Where each third party is confined to: part of "/<folder>/".
CONFINED_TO = {
    "LibTorch": "/torch/",
    "gRPC": "/grpc/",
    "SQLite": "/storage/",
    "yaml-cpp": "/task/",
}
# Generated code has no folder of its own to be confined to.
EXEMPT = {"gRPC": "mledge_proto_grpc.dir/"}

OBJECT_LINE = re.compile(r"^(\S.*): #deps \d+, deps mtime \d+ \((\w+)\)$")
OUR_HEADER = re.compile(r"include/mledge_\w+/mledge/(.+)$")


def read_deps(text):
    """Maps object to headers, from the output of `ninja -t deps`."""
    objects = {}
    headers = None
    for line in text.splitlines():
        match = OBJECT_LINE.match(line)
        if match:
            headers = []
            if match.group(2) == "VALID":
                objects[match.group(1)] = headers
        elif line.startswith(" ") and headers is not None:
            headers.append(line.strip())
    return objects


def read_precompiled(commands):
    """Maps object to the precompiled headers that its command names."""
    included = {}
    for entry in commands:
        command = entry["command"]
        output = re.search(r" -o (\S+)", command)
        if output:
            included[output.group(1)] = re.findall(
                r" -include (\S+cmake_pch\S*)", command)
    return included


def folder_of(object_file):
    """Source folder: what stands before CMakeFiles/<target>.dir/."""
    return object_file.split("CMakeFiles/")[0].strip("/")


def module_of_header(header):
    match = OUR_HEADER.search(header)
    if not match:
        return None
    path = match.group(1)
    return "proto" if path.startswith("v1/") else arrows.module_of(path)


def violations_of(object_file, headers):
    folder = folder_of(object_file)
    is_test = folder == "tests" or folder.startswith("tests/")
    found = []
    seen = {}
    for header in headers:
        for name, pattern in THIRD_PARTIES.items():
            if pattern.search(header):
                seen.setdefault(name, header)

    if "LibTorch" in seen or CONFINED_TO["LibTorch"] in f"/{folder}/":
        for name in NEVER_BESIDE_LIBTORCH:
            if name in seen:
                found.append(f"{object_file}: sees {name} beside LibTorch "
                             f"({seen[name]}): LibTorch's wheel carries its "
                             "own copy; keep the two in different files")
    if is_test or "mledge_libtorch_pch.dir/" in object_file:
        return found

    for name, place in CONFINED_TO.items():
        if name in seen and place not in f"/{folder}/" and not (
                name in EXEMPT and EXEMPT[name] in object_file):
            found.append(f"{object_file}: sees {name} ({seen[name]}), which is "
                         f"confined to folders {place}: move the code there")

    if arrows.module_of(folder) is None:
        return found
    told = set()
    for header in headers:
        module = module_of_header(header)
        if module and module not in told and not arrows.may_include(
                folder, module):
            told.add(module)
            found.append(f"{object_file}: {folder} must not know {module} "
                         f"({header}): see arrows.py")
    return found


def check(deps_text, commands):
    """All violations, and how many objects were looked at."""
    objects = read_deps(deps_text)
    for object_file, headers in read_precompiled(commands).items():
        if object_file in objects:
            objects[object_file] = objects[object_file] + headers
    violations = []
    for object_file in sorted(objects):
        violations += violations_of(object_file, objects[object_file])
    return violations, len(objects)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    build = sys.argv[1]
    deps = subprocess.run(["ninja", "-C", build, "-t", "deps"], check=True,
                          capture_output=True, text=True).stdout
    with open(os.path.join(build, "compile_commands.json")) as file:
        commands = json.load(file)
    violations, count = check(deps, commands)
    print("\n".join(violations))
    print(f"{count} objects, {len(violations)} violations")
    if count == 0:
        sys.exit("no object in ninja's header lists: build first")
    sys.exit(1 if violations else 0)


if __name__ == "__main__":
    main()
