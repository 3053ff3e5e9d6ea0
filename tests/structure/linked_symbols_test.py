#!/usr/bin/env python3
"""What only simulations and tests may use is in no program of a fleet.

  linked_symbols_test.py BUILD_FOLDER

Secrets that anybody can foresee, sessions of secure aggregation without
cryptography or identities: their code must not be linked into what runs on
devices, the coordinator or the registrar. Reads the programs' symbols; so that
a pass means something, the workbench, which simulates, must show them.
"""

import os
import re
import subprocess
import sys
import unittest

BUILD = sys.argv[1]

ONLY_SIMULATED = re.compile(
    r"DeterministicSecretRandom|RepeatableCryptography|ArithmeticOnly"
    r"|UnauthenticatedMembers|UnauthenticatedSigner|simulation_internal")
FLEET = ("client/mledge-device", "coordinator/mledge-coordinator",
         "identity/registrar/mledge-registrar")
WORKBENCH = "cli/mledge"


def find(program):
    """The program's file, wherever the build puts it."""
    name = os.path.basename(program)
    for folder, _, files in os.walk(BUILD):
        path = os.path.join(folder, name)
        if name in files and os.access(path, os.X_OK):
            return path
    return None


def symbols_of(path):
    return subprocess.run(["nm", "--demangle", path], check=True,
                          capture_output=True, text=True).stdout


class LinkedSymbolsTest(unittest.TestCase):

    def test_programs_of_a_fleet_have_none_of_it(self):
        for program in FLEET:
            with self.subTest(program=program):
                path = find(program)
                self.assertIsNotNone(path, f"{program} is not built")
                symbols = symbols_of(path)
                self.assertIn("mledge::", symbols)
                found = ONLY_SIMULATED.search(symbols)
                self.assertIsNone(found)

    def test_the_workbench_has_it(self):
        path = find(WORKBENCH)
        self.assertIsNotNone(path, f"{WORKBENCH} is not built")
        symbols = symbols_of(path)
        for word in ONLY_SIMULATED.pattern.split("|"):
            self.assertIn(word, symbols)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
