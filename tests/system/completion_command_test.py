"""longrope completion: what bash offers after the printed script was evaluated."""

import os
import pathlib
import shutil
import subprocess

import pytest

BIN = pathlib.Path(os.environ["LONGROPE_BINARY_DIR"])


def offered(*words, shell="bash"):
    """What bash offers for the last of `words`."""
    script = f'eval "$(longrope completion {shell})"\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _longrope\n' \
             'printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", script, "bash", "longrope", *words], capture_output=True, text=True, check=True,
                          env=os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"})
    assert done.stderr == ""
    return done.stdout.split()


def test_commands_are_completed():
    assert offered("in") == ["inspect-model"]
    assert offered("ch") == ["check-engine"]
    assert {"run", "score", "stage", "completion"} <= set(offered(""))
    assert set(offered("stage", "re")) == {"retry"}


def test_options_are_completed_also_of_commands_of_the_other_program():
    assert offered("factors", "--le") == ["--length"]
    assert {"--length", "--lengths"} <= set(offered("score", "--le"))
    assert offered("stage", "complete", "--che") == ["--checkpoint"]


def test_shells_are_completed():
    assert offered("completion", "") == ["bash", "zsh"]


def test_the_script_for_zsh_is_read_by_zsh():
    if shutil.which("zsh") is None:
        pytest.skip("NOT RUN: zsh is not installed")
    script = 'autoload -Uz compinit; compinit -u -d /dev/null\neval "$(longrope completion zsh)"; (( $+functions[_longrope] ))'
    subprocess.run(["zsh", "-f", "-c", script], check=True, env=os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"})
