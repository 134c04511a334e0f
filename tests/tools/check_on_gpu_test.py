"""tools/check_on_gpu without a GPU: its package with the programs of this build, and a rehearsal of its run on the CPU.

The programs that compare kernels need a GPU; scripts take their place."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(os.environ["LONGROPE_SOURCE_DIR"])
PROGRAMS = Path(os.environ["LONGROPE_BINARY_DIR"])
PATIENCE_SECONDS = 240  # for anything that must happen; nothing passes because of it
TITLES = ["Machine", "Truth table of attention and the CUDA kernels", "NLL beside transformers",
          "Two data-parallel processes", "Throughput and memory", "Targets at 128k, 1M and 2M tokens"]
TRUTH = r"| kernel | dtype | verdict |\n|---|---|---|\n| flash | bf16 | %s |\n"

for module in ("torch", "transformers"):
    pytest.importorskip(module, reason=f"NOT RUN: {module} is not installed (tools/install_dependencies.sh test)")


def packaging(commands):
    """Bash commands with the functions of tools/gpu_check/package.sh."""
    script = f"""set -euo pipefail
      say() {{ echo "$*"; }}
      fail() {{ echo "FAILED: $*" >&2; exit 1; }}
      PYTHON={sys.executable}
      . tools/gpu_check/package.sh
      {commands}"""
    return subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu") / "package"
    done = packaging(f"make_package {folder} {PROGRAMS}/longrope {PROGRAMS}/longrope-worker")
    assert done.returncode == 0, done.stderr
    replace(folder, "cuda_kernels_gpu_check", "echo 'NOT RUN: there is no CUDA device'")
    replace(folder, "attention_gpu_check", f"printf '{TRUTH % 'right'}'")
    return folder


def replace(package, name, commands):
    path = package / "bin" / name
    path.write_text(f"#!/bin/sh\n{commands}\n")
    path.chmod(0o755)


def run(package, folder, *arguments):
    """(exit status, the report's sections by title, what was printed)"""
    out = folder / "report.md"
    own = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([package / "tools" / "check_on_gpu", "run", "--threads", "1", "--out", out, *arguments],
                          env=os.environ | own, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    if not out.exists():
        return done.returncode, {}, done.stderr
    parts = re.split(r"^## (.*)$", out.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return done.returncode, {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True)), done.stdout


def test_a_rehearsal_fills_every_section_also_after_one_that_fails(package, tmp_path):
    replace(package, "attention_gpu_check", f"printf '{TRUTH % 'WRONG'}'; echo 'flash is wrong' >&2; exit 1")
    try:
        status, sections, printed = run(package, tmp_path, "--device", "cpu", "--rehearse", "--minutes", "3")
    finally:
        replace(package, "attention_gpu_check", f"printf '{TRUTH % 'right'}'")
    assert status == 1, printed
    assert list(sections) == ["", *TITLES]
    assert "Failures: 1." in sections[""]
    truth = sections[TITLES[1]]
    assert "| flash | bf16 | WRONG |" in truth
    assert "**FAILED**: attention_gpu_check exited 1: flash is wrong" in truth
    assert "NOT RUN: cuda_kernels_gpu_check: there is no CUDA device" in truth
    assert [sections[TITLES[2]].count(f"| {family} | {dtype} |") for family in ("llama", "qwen3", "mistral")
            for dtype in ("fp32", "bf16")] == [1] * 6
    assert sections[TITLES[2]].count("| right |") == 6
    assert "| 4 |" in sections[TITLES[3]]
    measured = [line for line in sections[TITLES[4]].splitlines() if line.startswith(("| 1B", "| 8B"))]
    assert len(measured) == 4
    for line in measured:  # all but the memory of a GPU
        assert line.count(" – ") == 1 and line.endswith("| – |"), line
    assert sections[TITLES[5]].count("| reached |") == 2
    for title in TITLES[2:]:
        assert f"| {title} | done |" in sections[""]


def test_nothing_failed_is_status_0(package, tmp_path):
    status, sections, printed = run(package, tmp_path, "--device", "cpu", "--rehearse", "--only", "truth")
    assert status == 0, printed
    assert list(sections) == ["", *TITLES[:2]]
    assert "Failures: 0." in sections[""]


def test_sections_without_time_say_so(package, tmp_path):
    status, sections, printed = run(package, tmp_path, "--device", "cpu", "--rehearse", "--minutes", "0")
    assert status == 0, printed
    for title in TITLES[1:]:
        assert "NOT RUN: out of time" in sections[title]
        assert f"| {title} | NOT RUN |" in sections[""]


def test_a_machine_without_a_gpu_is_a_failure(package, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("NOT RUN: this machine has a GPU")
    status, sections, _ = run(package, tmp_path)
    assert status == 1
    assert "**FAILED**: Torch finds no CUDA device" in sections["Machine"]
    for title in TITLES[1:]:
        assert "NOT RUN: there is no CUDA device" in sections[title]


def test_a_package_beyond_the_size_is_refused(package):
    assert packaging(f"require_size {package} 1GiB").returncode == 0
    done = packaging(f"require_size {package} 1MiB")
    assert done.returncode != 0 and "must not be larger than --max-size 1MiB" in done.stderr
    assert "--max-size must be a size such as 48MiB: 1MB" in packaging(f"require_size {package} 1MB").stderr


def test_programs_of_the_package_know_no_folder_of_this_machine(package):
    for name in ("longrope", "longrope-worker"):
        printed = subprocess.run(["readelf", "-d", package / "bin" / name], capture_output=True, text=True, check=True)
        assert "RUNPATH" not in printed.stdout and "RPATH" not in printed.stdout
    copied = {path.name.split(".so")[0] for path in (package / "lib").iterdir()}
    assert not copied & {"libc", "libm", "libresolv", "libstdc++", "libgcc_s", "libtorch", "libc10"}
