#!/usr/bin/env python3
"""Runs for minutes what `make test` runs for seconds: hostile inputs, simulated faults, real kills, repetitions.

    make soak SOAK_MINUTES=20    # builds first; the minutes are those of the steps below

Each step has a share of the minutes and is repeated until its share has passed; the memory measurement runs once.
Writes bench/results/<date>-soak.md and exits with 1 when a step failed.
"""

import argparse
import datetime
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from measurement import RESULTS, ROOT, output_of, processor

SHARES = {"fuzz": 0.5, "simulation": 0.15, "kills": 0.2, "units": 0.1}  # the rest is for the memory measurement
SEEDS_OF_ONE_RUN = 70  # of the longest case of tests/coordinator/core/simulation_test.cpp
SHOWN_LINES = 20  # of the output of a step that failed


@dataclass
class Outcome:
    """One row of the result."""

    what: str
    how_often: str
    passed: bool
    seconds: float
    output: str  # of the run that failed, or the last one


def run(*command: object, **environment: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], cwd=ROOT, text=True, check=False, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env=os.environ | {key: str(it) for key, it in environment.items()})


def repeated(seconds: float, once: Callable[[int], subprocess.CompletedProcess[str]]) -> tuple[int, bool, float, str]:
    """Calls `once` with 0, 1, … until `seconds` have passed or it fails. Returns runs, success, seconds, output."""
    begin = time.monotonic()
    runs = 0
    while True:
        done = once(runs)
        runs += 1
        elapsed = time.monotonic() - begin
        if done.returncode != 0 or elapsed >= seconds:
            return runs, done.returncode == 0, elapsed, done.stdout


def fuzz(seconds: float, jobs: int) -> Outcome:
    targets = (ROOT / "tests" / "fuzz" / "CMakeLists.txt").read_text(encoding="utf-8").count("longrope_fuzz_target(")
    each = max(1, round(seconds * jobs / targets))
    for preparation in (("cmake", "--preset", "fuzz", "--log-level=WARNING", f"-DLONGROPE_FUZZ_SECONDS={each}"),
                        ("cmake", "--build", "--preset", "fuzz", "-j", jobs)):
        done = run(*preparation)
        if done.returncode != 0:
            return Outcome("fuzz targets", "not built", False, 0, done.stdout)
    _, passed, elapsed, output = repeated(0, lambda _: run("ctest", "--preset", "fuzz", "-j", jobs))
    log = (ROOT / "build" / "fuzz" / "Testing" / "Temporary" / "LastTest.log").read_text(encoding="utf-8",
                                                                                      errors="replace")
    inputs = sum(map(int, re.findall(r"stat::number_of_executed_units:\s*(\d+)", log)))
    return Outcome("hostile files and frames under ASan and UBSan (`ctest --preset fuzz`)",
                   f"{targets} targets of {each} s, {inputs:,} inputs", passed, elapsed, output)


def simulation(seconds: float) -> Outcome:
    program = ROOT / "build" / "release" / "tests" / "core_test"
    runs, passed, elapsed, output = repeated(seconds, lambda index: run(
        program, "--gtest_brief=1", "--gtest_filter=*SimulationTest*",
        LONGROPE_SIMULATION_FIRST_SEED=1 + index * SEEDS_OF_ONE_RUN))
    return Outcome("searches among simulated faults (`core_test`)",
                   f"{runs} runs, seeds from 1 to {runs * SEEDS_OF_ONE_RUN}", passed, elapsed, output)


def kills(seconds: float) -> Outcome:
    runs, passed, elapsed, output = repeated(seconds, lambda index: run(
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/system/search_survival_test.py",
        LONGROPE_SOURCE_DIR=ROOT, LONGROPE_BINARY_DIR=ROOT / "build" / "bin", LONGROPE_SURVIVAL_ROUNDS=5,
        LONGROPE_SURVIVAL_SEED=index))
    return Outcome("searches whose processes are killed (`tests/system/search_survival_test.py`)",
                   f"{runs} runs with 5 rounds of kills each", passed, elapsed, output)


def units(seconds: float, jobs: int) -> Outcome:
    runs, passed, elapsed, output = repeated(
        seconds, lambda _: run("ctest", "--preset", "release", "-L", "^unit$", "-j", jobs))
    return Outcome("unit tests again and again (`ctest -L '^unit$'`)", f"{runs} runs", passed, elapsed, output)


def memory(jobs: int) -> Outcome:
    _, passed, elapsed, output = repeated(0, lambda _: run(
        sys.executable, "bench/memory_against_estimate.py", "--lengths", "16384", "--threads", jobs))
    row = re.search(r"^\|\s*16384\s*\|.*\|\s*([+-][\d.]+ %)", output, re.MULTILINE)
    return Outcome("memory of 16,384 tokens against its estimate (`bench/memory_against_estimate.py`)",
                   f"once; {row[1]} beyond the estimate" if row else "once", passed, elapsed, output)


def outcomes(minutes: float, jobs: int) -> Iterator[Outcome]:
    seconds = {step: share * minutes * 60 for step, share in SHARES.items()}
    yield fuzz(seconds["fuzz"], jobs)
    yield simulation(seconds["simulation"])
    yield kills(seconds["kills"])
    yield units(seconds["units"], jobs)
    yield memory(jobs)


def report(minutes: float, finished: list[Outcome]) -> str:
    commit = output_of(["git", "rev-parse", "--short", "HEAD"])
    if output_of(["git", "status", "--porcelain", "--untracked-files=no"]):
        commit += " with changes"
    lines = [
        "# Soak: hostile inputs, faults, kills and repetitions",
        "",
        f"{datetime.date.today().isoformat()}, commit {commit}. Command: `make soak SOAK_MINUTES={minutes:g}`",
        "",
        f"Machine: {processor()}, {os.cpu_count()} cores.",
        "",
        "| what | how often | seconds | outcome |",
        "|---|---|---|---|",
        *(f"| {it.what} | {it.how_often} | {it.seconds:.0f} | {'passed' if it.passed else '**FAILED**'} |"
          for it in finished),
    ]
    for it in finished:
        if not it.passed:
            lines += ["", f"Failed: {it.what}", "", "```", *it.output.rstrip().splitlines()[-SHOWN_LINES:], "```"]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20, help="(default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="(default: %(default)s)")
    arguments = parser.parse_args()
    finished = []
    for outcome in outcomes(arguments.minutes, arguments.jobs):
        finished.append(outcome)
        print(f"{outcome.what}: {outcome.how_often}, {outcome.seconds:.0f} s, "
              f"{'passed' if outcome.passed else 'FAILED'}", flush=True)
    text = report(arguments.minutes, finished)
    (RESULTS / f"{datetime.date.today().isoformat()}-soak.md").write_text(text, encoding="utf-8")
    if not all(outcome.passed for outcome in finished):
        sys.exit(text)


if __name__ == "__main__":
    main()
