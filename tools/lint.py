#!/usr/bin/env python3
"""Checks the C++ files of the project. Without an option, everything:

  --rooms      the table of rooms (tools/rooms.toml) and other rules of text; takes a second and needs no build
  --sources    format (clang-format), names and likely mistakes (clang-tidy); needs configured build folders, for their
               compile commands. A source that passed is not checked again until it, a header of ours that it includes,
               its compile command, the rules or the version of clang-tidy change
  --functions  functions that only tests call; needs both programs

--write-table copies the table of rooms into CONTRIBUTING.md.
"""

import argparse
import concurrent.futures
import hashlib
import json
import pathlib
import re
import subprocess
import sys

from lint_rules.rooms import LintError, read_rooms, replace_table
from lint_rules.text import check_text
from lint_rules.unused_functions import check_functions

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAMS = ["longrope", "longrope-worker"]
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def files(table, *suffixes):
    return sorted(path for folder in table.top_folders for path in (ROOT / folder).rglob("*")
                  if path.suffix in suffixes)


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


def check_sources(table, builds, jobs):
    tool = pathlib.Path(sys.executable).parent / "clang-tidy"
    version = subprocess.run([tool, "--version"], check=True, capture_output=True).stdout
    rules = version + b"".join((ROOT / folder / ".clang-tidy").read_bytes() for folder in (".", "tests"))
    build_of, commands = {}, {}
    for build in builds:
        for entry in json.loads((build / "compile_commands.json").read_text()):
            source = pathlib.Path(entry["file"]).resolve()
            build_of.setdefault(source, build)  # the first folder that builds it
            commands.setdefault(source, entry["command"])
    passed = ROOT / "build" / "lint"
    passed.mkdir(parents=True, exist_ok=True)

    good, waiting = True, []
    for source in files(table, ".cpp"):
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


def print_findings(findings):
    for finding in findings:
        print(finding)
    return not findings


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for check in ("rooms", "sources", "functions", "write-table"):
        parser.add_argument(f"--{check}", action="store_true")
    parser.add_argument("--root", type=pathlib.Path, default=ROOT, help="the tree of --rooms and --write-table")
    parser.add_argument("--build", type=pathlib.Path, nargs="+",
                        default=[ROOT / "build" / "release", ROOT / "build" / "fuzz"],
                        help="build folders; the first is that of the programs")
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / "build" / "bin", help="folder of both programs")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    every = not (arguments.rooms or arguments.sources or arguments.functions or arguments.write_table)

    good = True
    try:
        table = read_rooms(arguments.root)
        if arguments.write_table:
            shown = arguments.root / "CONTRIBUTING.md"
            shown.write_text(replace_table(shown.read_text(encoding="utf-8"), table), encoding="utf-8")
        if arguments.rooms or every:
            good = print_findings(check_text(arguments.root, table)) and good
        if arguments.sources or every:
            if not check_format(files(table, ".h", ".cpp", ".cu")):
                print("make format repairs the format")
                good = False
            good = check_sources(table, [build.resolve() for build in arguments.build], arguments.jobs) and good
        if arguments.functions or every:
            programs = [arguments.programs / name for name in PROGRAMS]
            good = print_findings(check_functions(ROOT, table, arguments.build[0], programs)) and good
    except LintError as error:
        print(error)
        good = False
    if not good:
        sys.exit("lint: failed")


if __name__ == "__main__":
    main()
