"""ctest tells a file of which a case could not run from one of which a case failed (cmake/LongropeTest.cmake)."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(os.environ["LONGROPE_SOURCE_DIR"])
PROJECT = """
cmake_minimum_required(VERSION 3.25)
project(skipped NONE)
enable_testing()
set(LONGROPE_PYTHON "{python}")
include("{root}/cmake/LongropeTest.cmake")
longrope_python_test(sample FILE sample_test.py)
"""
SKIPS = "import pytest\ndef test_engine(): pytest.skip('NOT RUN: no engine')\n"


@pytest.mark.parametrize("cases, outcome", [
    (SKIPS, "Skipped"),
    (SKIPS + "def test_holds(): pass\n", "Skipped"),
    ("import pytest\npytest.importorskip('no_such_module', reason='NOT RUN: no module')\n", "Skipped"),
    (SKIPS + "def test_fails(): assert False\n", "Failed"),
    (SKIPS + "def test_holds(): pass\ndef test_breaks(no_such_fixture): pass\n", "Failed"),
    ("def test_holds(): pass\n", "Passed"),
])
def test_a_failure_beside_a_skipped_case_is_a_failure(tmp_path, cases, outcome):
    (tmp_path / "CMakeLists.txt").write_text(PROJECT.format(python=sys.executable, root=ROOT))
    (tmp_path / "sample_test.py").write_text(cases)
    subprocess.run(["cmake", "-S", tmp_path, "-B", tmp_path / "build"], check=True, capture_output=True)
    done = subprocess.run(["ctest", "--test-dir", tmp_path / "build"], capture_output=True, text=True)
    assert outcome in next(line for line in done.stdout.splitlines() if "Test #1: sample" in line), done.stdout
    assert (done.returncode != 0) == (outcome == "Failed")
