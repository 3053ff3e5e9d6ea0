#!/usr/bin/env python3
"""An undeclared include does not compile.

  undeclared_include_test.py BUILD_FOLDER SOURCE_FOLDER

For each pair of modules without an arrow, a scratch file of the one includes a
header of the other and is compiled with the one's own flags, as they stand in
compile_commands.json: it must fail because the header is not found. So that a
pass means something, the same flags must compile a header of the module itself.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import unittest

import arrows

BUILD, SOURCE = sys.argv[1:3]


def read_flags():
    """Maps module to (folder to compile in, compiler and flags)."""
    flags = {}
    with open(os.path.join(BUILD, "compile_commands.json")) as file:
        commands = json.load(file)
    for entry in commands:
        match = re.search(r" -o (\w+)/CMakeFiles/mledge_(\w+)\.dir/",
                          entry["command"])
        if not match or match.group(1) != match.group(2):
            continue
        words = shlex.split(entry["command"])
        # Without ccache before it, and without what names the object.
        start = next(i for i, word in enumerate(words)
                     if re.search(r"(\+\+|/c\+\+|clang)[-\d.]*$", word))
        flags[match.group(1)] = (entry["directory"],
                                 words[start:words.index("-o")])
    return flags


FLAGS = read_flags()


def headers_of(module):
    """Public headers of a module as they are included."""
    if module == "proto":
        return ["mledge/v1/task.pb.h"]
    folder = os.path.join(SOURCE, module)
    return [f"mledge/{module}/{name}" for name in sorted(os.listdir(folder))
            if name.endswith(".h")]


def compile_include(module, header, stage="-E"):
    """Compiler's exit status and words for a file that includes `header`.

    Includes are found or not by the preprocessor, so that stage is enough where
    many pairs are tried.
    """
    directory, flags = FLAGS[module]
    with tempfile.TemporaryDirectory() as scratch:
        source = os.path.join(scratch, "scratch.cc")
        with open(source, "w") as file:
            file.write(f'#include "{header}"\n')
        done = subprocess.run([*flags, stage, source], cwd=directory,
                              capture_output=True, text=True)
    return done.returncode, done.stderr


class UndeclaredIncludeTest(unittest.TestCase):

    def test_the_modules_are_there(self):
        self.assertLessEqual({"core", "proto", "aggregation", "client"},
                             set(FLAGS))

    def test_undeclared_includes_do_not_compile(self):
        for module in FLAGS:
            for other in arrows.MODULES:
                if arrows.may_include(module, other) or not os.path.isdir(
                        os.path.join(SOURCE, other)):
                    continue
                for header in headers_of(other)[:1]:
                    with self.subTest(module=module, header=header):
                        status, words = compile_include(module, header)
                        self.assertNotEqual(status, 0)
                        self.assertRegex(
                            words, f"{re.escape(header)}.*(No such file|not found)")

    def test_the_modules_own_headers_are_found(self):
        for module in FLAGS:
            for header in headers_of(module)[:1]:
                with self.subTest(module=module, header=header):
                    status, words = compile_include(module, header)
                    self.assertEqual(status, 0, words)

    def test_aggregation_compiles_with_core_but_not_with_client(self):
        status, words = compile_include(
            "aggregation", "mledge/core/update.h", "-fsyntax-only")
        self.assertEqual(status, 0, words)
        header = "mledge/client/uploader.h"
        self.assertTrue(os.path.exists(os.path.join(SOURCE, header[7:])))
        status, words = compile_include("aggregation", header, "-fsyntax-only")
        self.assertNotEqual(status, 0)
        self.assertRegex(words, "uploader.h.*(No such file|not found)")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
