"""Runs tools/prepare_documents.py as people run it and reads its files back with the `safetensors` package."""

import subprocess
import sys
from pathlib import Path

from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "prepare_documents.py"
LONG = "In the beginning God created the heaven and the earth. " * 4
LENGTH = 16

if str(TOOL.parent) not in sys.path:  # for tests of its parts
    sys.path.insert(0, str(TOOL.parent))


def prepare(*arguments, env=None):
    command = [sys.executable, "-B", TOOL, *arguments]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, env=env)


def run(tokenizer, out, *arguments, length=LENGTH):
    return prepare("--tokenizer", tokenizer, "--length", length, "--out", out, *arguments)


def read(path):
    with safe_open(path, "np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()


def refused(result, *words):
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr, result.stderr
    return True
