"""tools/lint.py refuses what breaks the table of rooms, on a small tree made up here, and names dead functions."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("LONGROPE_SOURCE_DIR", Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(ROOT / "tools"))

from lint_rules.rooms import BEGIN, END, LintError, read_rooms  # noqa: E402
from lint_rules.text import Tree  # noqa: E402
from lint_rules.unused_functions import base_name, called_by_tests_only, findings, program_sources  # noqa: E402

TABLE = """
[[room]]
folder = "ground"
knows = "angles"
targets = ["demo_ground"]
may_include = []
libraries = []
pure = true

[[room]]
folder = "house"
knows = "the program"
targets = ["demo_house"]
may_include = ["ground"]
libraries = ["SQLite"]

[libraries]
"SQLite" = '^sqlite3\\.h$'
"Torch" = '^ATen/'

[libraries_of_all]
"fmt" = '^fmt/'

[suites]
"tests/house/whole_test.cpp" = "both rooms together"

[called_by_tests_only]
kept = "the next program calls it"
"""

TREE = {
    "tools/rooms.toml": TABLE,
    "ground/CMakeLists.txt": "add_library(demo_ground STATIC angle.cpp)  # dead.cpp is only named here\n",
    "ground/angle.h": "#pragma once\n#include <vector>\nnamespace longrope {\ndouble angle(int pair);\n}\n",
    "ground/angle.cpp": '#include "ground/angle.h"\n#include <fmt/format.h>\n'
                        "namespace longrope {\ndouble angle(int pair) { return pair; }\n}\n",
    "house/CMakeLists.txt": "add_executable(demo_house\n  main.cpp)\n",
    "house/main.cpp": '#include "ground/angle.h"\n#include <sqlite3.h>\n#include <unistd.h>\n'
                      "int main() { return static_cast<int>(longrope::angle(0)); }\n",
    "tests/CMakeLists.txt": "longrope_test(demo_test SOURCES ground/angle_test.cpp house/whole_test.cpp)\n",
    "tests/ground/angle_test.cpp": '#include "ground/angle.h"\n#include <gtest/gtest.h>\n',
    "tests/house/whole_test.cpp": '#include "ground/angle.h"\n',
    "CONTRIBUTING.md": f"# Contributing\n\n{BEGIN}\n{END}\n\nThe end.\n",
}


@pytest.fixture
def tree(tmp_path):
    for name, text in TREE.items():
        write(tmp_path, name, text)
    assert lint(tmp_path, "--write-table").returncode == 0
    return tmp_path


def write(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def lint(root, *options):
    return subprocess.run([sys.executable, "-B", ROOT / "tools" / "lint.py", "--root", root, *options],
                          capture_output=True, text=True, check=False)


def refused(root, *words):
    done = lint(root, "--rooms")
    assert done.returncode == 1, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if all(word in line for word in words)]
    assert lines, done.stdout
    return len(done.stdout.splitlines())


def test_a_tree_that_keeps_the_law_passes(tree):
    done = lint(tree, "--rooms")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == ""


def test_upward_include_is_refused(tree):
    write(tree, "house/door.h", "#pragma once\n")
    write(tree, "house/main.cpp", TREE["house/main.cpp"] + '#include "house/door.h"\n')
    write(tree, "ground/angle.cpp", '#include "ground/angle.h"\n\n#include "house/door.h"\n')
    assert refused(tree, "ground/angle.cpp:3: ", "ground may not include house", "may include no other room") == 1


def test_included_header_that_lies_in_no_room_is_refused(tree):
    write(tree, "house/main.cpp", '#include "angle.h"\n')
    refused(tree, 'house/main.cpp:1: ', '"angle.h" lies in no room')


def test_tests_are_no_room_of_the_programs(tree):
    write(tree, "tests/support/fixture.h", "#pragma once\n")
    write(tree, "house/main.cpp", TREE["house/main.cpp"] + '#include "tests/support/fixture.h"\n')
    assert refused(tree, "house/main.cpp:5: ", '"tests/support/fixture.h" lies in no room') == 1


def test_source_that_no_target_builds_is_refused(tree):
    write(tree, "ground/dead.cpp", "")
    assert refused(tree, "ground/dead.cpp: ", "no target builds this source") == 1


def test_source_of_two_targets_is_refused(tree):
    write(tree, "ground/CMakeLists.txt", "add_library(demo_ground STATIC angle.cpp)\n"
                                         "add_library(demo_twice STATIC angle.cpp)\n")
    refused(tree, "ground/angle.cpp: ", "belongs to one target: demo_ground, demo_twice")


def test_header_that_nobody_includes_is_refused(tree):
    write(tree, "ground/dead.h", "#pragma once\n")
    assert refused(tree, "ground/dead.h: ", "nobody but its own source includes it") == 1
    write(tree, "tests/ground/dead_test.cpp", '#include "ground/dead.h"\n')
    refused(tree, "ground/dead.h: ", "only tests include it")


def test_folder_without_a_row_is_refused(tree):
    write(tree, "house/attic/box.h", "#pragma once\n")
    refused(tree, "house/attic/box.h: ", "house/attic/ has no row")


@pytest.mark.parametrize("name", ["house/utils.h", "house/string_helpers.h", "ground/misc.cpp"])
def test_file_with_a_banned_name_is_refused(tree, name):
    write(tree, name, "")
    refused(tree, f"{name}: ", "a name says what a thing does")


@pytest.mark.parametrize("code", ["namespace utils {\n}\n", "class AngleHelper {};\n", "struct misc;\n"])
def test_declaration_with_a_banned_name_is_refused(tree, code):
    write(tree, "house/main.cpp", TREE["house/main.cpp"] + code)
    assert refused(tree, "house/main.cpp:5: ", "a name says what a thing does") == 1


def test_library_outside_its_home_is_refused(tree):
    write(tree, "ground/angle.cpp", TREE["ground/angle.cpp"] + "#include <sqlite3.h>\n")
    assert refused(tree, "ground/angle.cpp:6: ", "SQLite may be included in house only") == 1


def test_library_that_the_table_does_not_know_is_refused(tree):
    write(tree, "house/main.cpp", TREE["house/main.cpp"] + "#include <boost/any.hpp>\n")
    assert refused(tree, "house/main.cpp:5: ", "names no library with this header: <boost/any.hpp>") == 1


@pytest.mark.parametrize("line", ["#include <fstream>", "#include <unistd.h>", "auto t = steady_clock::now();"])
def test_pure_room_that_touches_the_world_is_refused(tree, line):
    write(tree, "ground/angle.cpp", TREE["ground/angle.cpp"] + line + "\n")
    assert refused(tree, "ground/angle.cpp:6: ", "ground is pure") == 1


@pytest.mark.parametrize("comment", ["/// Of pair `pair`.", "int pairs = 2;  // Of a head."])
def test_comment_without_its_noun_is_refused(tree, comment):
    write(tree, "house/main.cpp", TREE["house/main.cpp"] + comment + "\n")
    assert refused(tree, "house/main.cpp:5: ", "names the noun") == 1


def test_error_that_states_a_rule_is_refused(tree):
    write(tree, "house/main.cpp", TREE["house/main.cpp"] + 'void f() {\n  throw Error(fmt::format("disk ({}) "\n'
                                                           '                          "must be there", 1));\n}\n'
                                                           'void g() { throw InputError("pair must be even"); }\n')
    assert refused(tree, "house/main.cpp:6: ", "an Error says what failed") == 1


def test_test_without_a_source_is_refused(tree):
    write(tree, "tests/CMakeLists.txt", "longrope_test(demo_test SOURCES ground/angle_test.cpp ground/gone_test.cpp\n"
                                        "  house/whole_test.cpp)\n")
    write(tree, "tests/ground/gone_test.cpp", "")
    assert refused(tree, "tests/ground/gone_test.cpp: ", "a test mirrors a source") == 1


def test_table_in_contributing_that_differs_is_refused_until_it_is_written(tree):
    write(tree, "tools/rooms.toml", TABLE.replace('knows = "angles"', 'knows = "angles of pairs"'))
    assert refused(tree, "CONTRIBUTING.md: ", "run tools/lint.py --write-table") == 1
    assert lint(tree, "--write-table").returncode == 0
    assert lint(tree, "--rooms").returncode == 0
    text = (tree / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert "| `ground/` | angles of pairs | `demo_ground` |" in text
    assert text.endswith("\n\nThe end.\n")


def test_row_that_lists_a_room_below_itself_in_the_table_is_refused(tree):
    write(tree, "tools/rooms.toml", TABLE.replace("may_include = []", 'may_include = ["house"]'))
    with pytest.raises(LintError, match="ground may list only rooms above it"):
        read_rooms(tree)


# Functions that only tests call. `nm -C` of a library lists each object file's symbols under its name.
LIBRARIES = """
angle.cpp.o:
0000000000000000 T longrope::angle(int)
0000000000000040 T longrope::dropped[abi:cxx11](std::function<void (int)> const&)
0000000000000080 T longrope::called_by_dropped(int)
00000000000000c0 T longrope::inlined(int)
0000000000000100 T longrope::kept()
0000000000000140 T longrope::Store::~Store()
0000000000000180 T longrope::gone_from_the_sources()
0000000000000000 W longrope::Store::weak()
0000000000000000 t longrope::(anonymous namespace)::local()
0000000000000000 T someone::else_s()
"""
PROGRAMS = "0000000000001000 T longrope::angle(int)\n0000000000002000 T main\n"
SOURCES = """#include "ground/angle.h"
namespace longrope {
double angle(int pair) { return inlined(pair); }
int inlined(int pair) {
  return pair;
}
std::string dropped(const std::function<void(int)>& step) {
  const int pairs = called_by_dropped(1);  // and { in a comment
  return pairs > 0 ? "}" : dropped(step);
}
int called_by_dropped(int pairs) { return pairs; }
void kept() {}
}
"""


def test_function_that_only_tests_call_is_named_with_its_place(tree):
    write(tree, "ground/angle.cpp", SOURCES)
    write(tree, "tests/ground/angle_test.cpp", '#include "ground/angle.h"\nvoid f() { dropped({}); kept(); }\n')
    table = read_rooms(tree)
    files = Tree(tree, table)
    functions = called_by_tests_only(LIBRARIES, PROGRAMS, program_sources(files))
    named = list(findings(functions, table, files))
    assert [line.split(": ")[0] for line in named] == ["ground/angle.cpp:11", "ground/angle.cpp:7"]
    assert "only tests call longrope::called_by_dropped(int)" in named[0]
    assert "only tests call longrope::dropped[abi:cxx11]" in named[1]


def test_permission_that_is_not_needed_is_refused(tree):
    table = read_rooms(tree)
    assert [line for line in findings([], table, Tree(tree, table)) if "kept" in line]


@pytest.mark.parametrize("function, name", [
    ("longrope::angle(int)", "angle"),
    ("longrope::(anonymous namespace)::Store<int>::digest[abi:cxx11](std::function<void (int)>) const", "digest"),
    ("longrope::Store::Store(longrope::Config const&)", "Store"),
    ("longrope::Store::~Store()", None),
    ("longrope::Store::operator=(longrope::Store&&)", None),
    ("longrope::Store::operator()(int) const", None),
])
def test_base_name_is_what_a_call_writes(function, name):
    assert base_name(function) == name
