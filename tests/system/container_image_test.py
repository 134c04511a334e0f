"""The image builds and its program starts. Needs a container engine: says NOT RUN where none answers."""

import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
IMAGE = "longrope:container-image-test"


def engine_answers():
    return shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True).returncode == 0


def test_image_builds_and_shows_its_commands():
    if not engine_answers():
        pytest.skip("NOT RUN: no container engine answers here, so the image was neither built nor started")
    subprocess.run(["docker", "build", "--tag", IMAGE, str(ROOT)], check=True)
    shown = subprocess.run(["docker", "run", "--rm", IMAGE, "--help"], check=True, capture_output=True, text=True)
    assert "coordinator" in shown.stdout and "worker" in shown.stdout
    text = ROOT / "models" / "byte-llama" / "text" / "heldout.txt"
    cut = subprocess.run(
        ["docker", "run", "--rm", "--volume", f"{text}:/text.txt:ro", "--entrypoint", "prepare_documents", IMAGE,
         "--byte-level", "--length", "64", "--out", "/tmp/out.safetensors", "/text.txt"],
        check=True, capture_output=True, text=True)
    assert "/tmp/out.safetensors: 1 documents" in cut.stdout
