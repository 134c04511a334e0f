#!/usr/bin/env python3
"""Checks format (clang-format), names and likely mistakes (clang-tidy) of all C++ files of the project.

A source that passed is not checked again until it, a header of ours that it includes, its compile command, the rules
or the version of clang-tidy change. Needs configured build folders, for their compile commands.
"""

import argparse
import concurrent.futures
import hashlib
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ["bench", "cli", "common", "coordinator", "finetune", "tests", "worker"]
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def files(suffix):
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*" + suffix))


def with_included_headers(source):
    """The source and every header of the project that it includes, directly or not."""
    seen, waiting = set(), [source]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in INCLUDE.findall(path.read_text(encoding="utf-8")):
            waiting += [found for found in (ROOT / name, path.parent / name) if found.is_file()][:1]
    return sorted(seen)


def fingerprint(source, command, rules):
    digest = hashlib.sha256(rules)
    digest.update(command.encode())
    for path in with_included_headers(source):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def check_format(paths):
    tool = pathlib.Path(sys.executable).parent / "clang-format"
    return subprocess.run([tool, "--dry-run", "--Werror", *paths], cwd=ROOT).returncode == 0


def tidy(tool, build, source):
    # GCC's precompiled headers mean nothing to clang; some of GCC's warning options are unknown to it; the wheel has no
    # omp.h. A warning is an error whatever preset is configured.
    return subprocess.run(
        [tool, "-p", build, "--quiet", "--extra-arg=-Wno-ignored-gch", "--extra-arg=-Wno-unknown-warning-option",
         "--extra-arg=-Wno-deprecated-declarations", "--extra-arg=-fno-openmp", "--extra-arg=-Werror", source],
        cwd=ROOT, capture_output=True, text=True)


def check_sources(builds, jobs):
    tool = pathlib.Path(sys.executable).parent / "clang-tidy"
    version = subprocess.run([tool, "--version"], check=True, capture_output=True).stdout
    rules = version + (ROOT / ".clang-tidy").read_bytes()
    build_of, commands = {}, {}
    for build in builds:
        for entry in json.loads((build / "compile_commands.json").read_text()):
            source = pathlib.Path(entry["file"]).resolve()
            build_of.setdefault(source, build)  # the first folder that builds it
            commands.setdefault(source, entry["command"])
    passed = ROOT / "build" / "lint"
    passed.mkdir(parents=True, exist_ok=True)

    good, waiting = True, []
    for source in files(".cpp"):
        if source not in commands:
            print(f"{source.relative_to(ROOT)}: every source must belong to a target: list it in CMake")
            good = False
            continue
        mark = passed / fingerprint(source, commands[source], rules)
        if not mark.exists():
            waiting.append((source, mark))

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        results = {pool.submit(tidy, tool, build_of[source], source): (source, mark) for source, mark in waiting}
        for result in concurrent.futures.as_completed(results):
            source, mark = results[result]
            if result.result().returncode == 0:
                mark.touch()
            else:
                print(result.result().stdout, result.result().stderr, f"{source.relative_to(ROOT)}: failed", sep="\n")
                good = False
    print(f"lint: {len(waiting)} of {len(commands)} sources were checked anew")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, nargs="+",
                        default=[ROOT / "build" / "release", ROOT / "build" / "fuzz"])
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    formatted = check_format(files(".h") + files(".cpp") + files(".cu"))
    clean = check_sources([build.resolve() for build in arguments.build], arguments.jobs)
    if not (formatted and clean):
        sys.exit("lint: failed (make format repairs the format)")


if __name__ == "__main__":
    main()
