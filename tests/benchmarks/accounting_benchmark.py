"""Measures accounting_benchmark beside Google's dp_accounting, in one run.

    python3 tests/benchmarks/accounting_benchmark.py build/release/tests/benchmarks/accounting_benchmark

Installs dp-accounting into a virtual environment (kept where --venv says, else
in a temporary folder) and prints each value, both times, their ratio and what is
asked of it. Ends with 1 where a ratio falls short.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import venv

VERSION = "0.6.0"
LEAST_RATIO = {"pld": 5, "rdp": 5, "calibration": 20}

# Runs in the virtual environment: the same three questions, best of several.
THEIRS = """
import json, time
import dp_accounting as dp
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant

def event(z):
  return dp.SelfComposedDpEvent(
      dp.PoissonSampledDpEvent(0.01, dp.GaussianDpEvent(z)), 10000)

def best(runs, run):
  taken = []
  for _ in range(runs):
    begin = time.perf_counter()
    value = run()
    taken.append(time.perf_counter() - begin)
  return [float(value), min(taken)]

def epsilon(accountant):
  return accountant().compose(event(1.0)).get_epsilon(1e-5)

print(json.dumps({
    "pld": best(3, lambda: epsilon(PLDAccountant)),
    "rdp": best(10, lambda: epsilon(RdpAccountant)),
    "calibration": best(1, lambda: dp.calibrate_dp_mechanism(
        PLDAccountant, event, 6.18775, 1e-5)),
}))
"""


def theirs(folder):
    python = pathlib.Path(folder) / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet",
         "--disable-pip-version-check", f"dp-accounting=={VERSION}"],
        check=True)
    # One thread, as ours.
    output = subprocess.run(
        [python, "-c", THEIRS], check=True, capture_output=True, text=True,
        env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}).stdout
    return json.loads(output)


def ours(program):
    output = subprocess.run([program], check=True, capture_output=True,
                            text=True).stdout
    return {name: (float(value), float(seconds))
            for name, value, seconds in map(str.split, output.splitlines())}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program")
    parser.add_argument("--venv")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        their = theirs(arguments.venv or temporary)
    our = ours(arguments.program)
    print(f"q = 0.01, z = 1, 10,000 steps, delta = 1e-5; dp_accounting {VERSION}")
    print(f"{'':12} {'ours':>11} {'seconds':>9} {'theirs':>11} {'seconds':>9} "
          f"{'times':>7}  asked")
    short = False
    for name, least in LEAST_RATIO.items():
        ratio = their[name][1] / our[name][1]
        short |= ratio < least
        print(f"{name:12} {our[name][0]:11.6f} {our[name][1]:9.5f} "
              f"{their[name][0]:11.6f} {their[name][1]:9.5f} {ratio:7.1f}  "
              f"{least}")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
