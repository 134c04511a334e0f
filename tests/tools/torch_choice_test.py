"""cmake/LongropeTorchChoice.cmake: which Torch is linked, and what is refused. The Torches here are empty files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = f"""
cmake_minimum_required(VERSION 3.25)
project(choice NONE)
set(CMAKE_FIND_LIBRARY_PREFIXES lib)
set(CMAKE_FIND_LIBRARY_SUFFIXES .so)
set(LONGROPE_PYTHON "${{PROJECT_SOURCE_DIR}}/.venv/bin/python" CACHE FILEPATH "")
include("{ROOT}/cmake/LongropeTorchChoice.cmake")
longrope_find_torch()
message(STATUS "linked: ${{TORCH_LIBRARY}} ${{c10_LIBRARY}} ${{TORCH_INSTALL_PREFIX}}")
"""
# The lines of PyTorch's own file that look for something.
CONFIG = """
include(FindPackageHandleStandardArgs)
if(DEFINED ENV{TORCH_INSTALL_PREFIX})
  set(TORCH_INSTALL_PREFIX $ENV{TORCH_INSTALL_PREFIX})
else()
  get_filename_component(CMAKE_CURRENT_LIST_DIR "${CMAKE_CURRENT_LIST_FILE}" PATH)
  get_filename_component(TORCH_INSTALL_PREFIX "${CMAKE_CURRENT_LIST_DIR}/../../../" ABSOLUTE)
endif()
find_package(Caffe2 REQUIRED PATHS ${CMAKE_CURRENT_LIST_DIR}/../Caffe2)
find_library(c10_LIBRARY c10 PATHS "${TORCH_INSTALL_PREFIX}/lib")
find_library(TORCH_LIBRARY torch PATHS "${TORCH_INSTALL_PREFIX}/lib")
find_package_handle_standard_args(Torch DEFAULT_MSG TORCH_LIBRARY)
"""
VERSION = """
set(PACKAGE_VERSION "{}")
if("${{PACKAGE_VERSION}}" VERSION_LESS "${{PACKAGE_FIND_VERSION}}")
  set(PACKAGE_VERSION_COMPATIBLE FALSE)
else()
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
"""


def make_torch(prefix, version):
    """A folder as a wheel installs it."""
    for name in ["Torch", "Caffe2"]:
        (prefix / "share" / "cmake" / name).mkdir(parents=True)
    (prefix / "share" / "cmake" / "Torch" / "TorchConfig.cmake").write_text(CONFIG)
    (prefix / "share" / "cmake" / "Torch" / "TorchConfigVersion.cmake").write_text(VERSION.format(version))
    (prefix / "share" / "cmake" / "Caffe2" / "Caffe2Config.cmake").write_text("")
    (prefix / "lib").mkdir()
    for name in ["libtorch.so", "libc10.so"]:
        (prefix / "lib" / name).write_text("")
    return prefix


def make_python(folder, version, build="+cpu"):
    """An interpreter that imports a Torch of its own."""
    torch = make_torch(folder / "site-packages" / "torch", version)
    (torch / "__init__.py").write_text(f"__version__ = '{version}{build}'\nprint('a warning')\n")
    (torch / "utils.py").write_text(f"cmake_prefix_path = '{torch}/share/cmake'\n")
    python = folder / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f"#!/bin/sh\nPYTHONPATH='{folder}/site-packages' exec '{sys.executable}' \"$@\"\n")
    python.chmod(0o755)
    return python, torch


@pytest.fixture
def configure(tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    (project / "CMakeLists.txt").write_text(PROJECT)

    def run(*options, **environment):
        own = {name: value for name, value in os.environ.items()
               if name not in {"CMAKE_PREFIX_PATH", "Torch_DIR", "TORCH_INSTALL_PREFIX"}}
        return subprocess.run(["cmake", "-S", project, "-B", project / "build", *options], capture_output=True,
                              text=True, env=own | environment)

    return run


def linked(result, torch):
    assert result.returncode == 0, result.stderr
    line = next(line for line in result.stdout.splitlines() if "linked: " in line)
    return line.split()[2:] == [f"{torch}/lib/libtorch.so", f"{torch}/lib/libc10.so", str(torch)]


def refused(result, *words):
    text = " ".join(result.stderr.split())
    assert result.returncode != 0
    for word in words:
        assert word in text, text
    return True


def test_the_torch_of_the_interpreter_is_linked(tmp_path, configure):
    python, torch = make_python(tmp_path / "own", "2.12.1")
    assert linked(configure(f"-DLONGROPE_PYTHON={python}"), torch)


def test_an_interpreter_with_a_torch_that_is_too_old_is_refused_by_name(tmp_path, configure):
    python, _ = make_python(tmp_path / "own", "2.1.0", "+cu121")
    assert refused(configure(f"-DLONGROPE_PYTHON={python}"), "Torch must be 2.11 or newer", f"{python} has 2.1.0+cu121")


def test_a_given_torch_that_is_too_old_is_refused_by_name(tmp_path, configure):
    torch = make_torch(tmp_path / "old", "2.1.0")
    make_python(tmp_path / "project" / ".venv", "2.13.0")  # and not replaced by another
    assert refused(configure(f"-DTorch_DIR={torch}/share/cmake/Torch"), "2.11 or newer", str(torch), "2.1.0")
    assert refused(configure("-DTorch_DIR=", f"-DCMAKE_PREFIX_PATH={torch}"), "2.11 or newer", str(torch), "2.1.0")


def test_an_interpreter_without_torch_is_refused_with_what_it_says(tmp_path, configure):
    python = tmp_path / "bare" / "python"
    python.parent.mkdir()
    python.write_text(f"#!/bin/sh\nexec '{sys.executable}' -S -E \"$@\"\n")
    python.chmod(0o755)
    result = configure(f"-DLONGROPE_PYTHON={python}")
    assert refused(result, "must import torch", str(python), "No module named 'torch'")
    assert refused(configure(f"-DLONGROPE_PYTHON={tmp_path}/none"), "must import torch", f"{tmp_path}/none")


def test_another_interpreter_takes_its_own_libraries_too(tmp_path, configure):
    first, first_torch = make_python(tmp_path / "first", "2.12.0")
    second, second_torch = make_python(tmp_path / "second", "2.13.0")
    assert linked(configure(f"-DLONGROPE_PYTHON={first}"), first_torch)
    assert linked(configure(f"-DLONGROPE_PYTHON={second}"), second_torch)
    assert linked(configure(), second_torch)  # as a build that configures anew


def test_a_torch_on_the_search_path_lends_no_library(tmp_path, configure):
    python, torch = make_python(tmp_path / "own", "2.12.0")
    other = make_torch(tmp_path / "conda", "2.13.0")
    (other / "bin").mkdir()
    assert linked(configure(f"-DLONGROPE_PYTHON={python}", CMAKE_PREFIX_PATH=str(other),
                            PATH=f"{other}/bin:{os.environ['PATH']}"), torch)


def test_a_given_folder_stays_given(tmp_path, configure):
    torch = make_torch(tmp_path / "libtorch", "2.13.0")
    make_python(tmp_path / "project" / ".venv", "2.13.0")
    assert linked(configure(f"-DTorch_DIR={torch}/share/cmake/Torch"), torch)
    assert linked(configure(), torch)


def test_a_prefix_with_torch_comes_before_the_environment_and_one_without_does_not_matter(tmp_path, configure):
    torch = make_torch(tmp_path / "libtorch", "2.13.0")
    (tmp_path / "libraries").mkdir()
    _, of_venv = make_python(tmp_path / "project" / ".venv", "2.13.0")
    assert linked(configure(), of_venv)
    assert linked(configure(CMAKE_PREFIX_PATH=f"{tmp_path}/libraries"), of_venv)
    assert linked(configure(CMAKE_PREFIX_PATH=f"{tmp_path}/libraries:{torch}"), torch)


def test_a_folder_beside_the_interpreters_torch_is_refused_with_both(tmp_path, configure):
    python, torch = make_python(tmp_path / "own", "2.12.0")
    other = make_torch(tmp_path / "libtorch", "2.13.0")
    result = configure(f"-DLONGROPE_PYTHON={python}", f"-DTorch_DIR={other}/share/cmake/Torch")
    assert refused(result, "Torch_DIR must be that of LONGROPE_PYTHON", str(other), str(torch))


def test_libraries_of_another_torch_are_refused(tmp_path, configure):
    python, torch = make_python(tmp_path / "own", "2.12.0")
    other = make_torch(tmp_path / "libtorch", "2.13.0")
    result = configure(f"-DLONGROPE_PYTHON={python}", TORCH_INSTALL_PREFIX=str(other))
    assert refused(result, "must be of one Torch", str(torch), str(other))


def install(level, **environment):
    return subprocess.run([ROOT / "tools" / "install_dependencies.sh", level], capture_output=True, text=True,
                          env=os.environ | environment)


@pytest.mark.parametrize("level, python, words", [
    ("test", sys.executable, ["leave LONGROPE_PYTHON out for test", sys.executable]),
    ("bench", sys.executable, ["leave LONGROPE_PYTHON out for bench"]),
    ("build", "/no/such/python", ["must be the whole path of a program: /no/such/python"]),
    ("build", "python3", ["must be the whole path of a program: python3"]),
    ("everything", "", ["must be documents, build, test or bench: everything"]),
])
def test_what_an_own_interpreter_cannot_be_used_for_is_refused(level, python, words):
    result = install(level, LONGROPE_PYTHON=python)
    assert result.returncode == 2
    for word in words:
        assert word in result.stderr, result.stderr


def test_without_root_an_own_interpreter_needs_no_installation(tmp_path):
    for name, says in [("id", "1000"), ("dpkg-query", "not-installed")]:
        (tmp_path / name).write_text(f"#!/bin/sh\necho {says}\n")
        (tmp_path / name).chmod(0o755)
    result = install("build", LONGROPE_PYTHON=sys.executable, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert result.returncode == 0, result.stderr
    assert "must find them elsewhere:" in result.stdout and " cmake " in result.stdout and " g++ " in result.stdout
