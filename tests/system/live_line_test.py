"""The live line in a terminal of 80 columns: it never wraps, and is overwritten whole."""

import re

import pytest

from longrope_processes import COLUMNS, MODEL, in_terminal, longrope, write_search

REWRITE = "\r\x1b[K"


def screen(shown):
    """The lines that stand on the terminal at the end. A rewritten line that wrapped would leave its first row."""
    lines = []
    for line in shown.split("\n"):
        for version in line.split(REWRITE):
            assert "\r" not in version and "\x1b" not in version, repr(version)
            assert REWRITE not in line or len(version) < COLUMNS, (len(version), version)
        lines.append(line.split(REWRITE)[-1])
    return lines


def versions(shown):
    """Every text that the live line had."""
    return [version for line in shown.split("\n") for version in line.split(REWRITE)[1:]]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return write_search(tmp_path_factory.mktemp("live"))


def test_search_leaves_one_line(config, tmp_path):
    shown = in_terminal("run", config, "--db", tmp_path / "search.db", "--workers", 2, shown_on="stdout")
    lines = screen(shown)
    # The live line as it was at the end, the verdict, where to look.
    assert lines[0].startswith("stage short: finished, ") and lines[-2].startswith("search finished"), lines
    assert lines[-1] == "" and len([line for line in lines if " candidates, " in line]) == 1, lines
    assert all(line.startswith(("stage short: ", "  ")) for line in lines[:-2]), lines
    seen = versions(shown)
    assert len(seen) > 2 and all(version.startswith("stage short: ") for version in seen)
    assert any(re.search(r"\d+/18 candidates, .*left", version) for version in seen), seen
    assert any("choosing, " in version for version in seen), seen


def test_score_leaves_nothing(tmp_path):
    documents = tmp_path / "documents.safetensors"
    longrope("documents", "--length", 5000, "--count", 1, "--out", documents, MODEL / "text" / "heldout.txt")
    shown = in_terminal("score", "--model", MODEL, "--documents", documents, "--length", 5000, shown_on="stderr")
    assert screen(shown) == [""] and any(version.startswith("scoring: ") for version in versions(shown))


def test_evaluation_leaves_nothing(tmp_path):
    documents = tmp_path / "documents.safetensors"
    longrope("documents", "--length", 2048, "--count", 2, "--out", documents, MODEL / "text" / "heldout.txt")
    shown = in_terminal("evaluate", "--model", MODEL, "--documents", documents, "--length", "512,2k", shown_on="stderr")
    assert screen(shown) == [""] and len(versions(shown)) > 1


def test_training_leaves_one_line(tmp_path):
    documents = tmp_path / "documents.safetensors"
    longrope("documents", "--length", 64, "--count", 4, "--out", documents, MODEL / "text" / "train.txt")
    shown = in_terminal("finetune", "--model", MODEL, "--documents", documents, "--length", 64, "--steps", 3,
                        "--batch-size", 1, "--learning-rate", 1e-4, "--out", tmp_path / "out", shown_on="stderr")
    lines = screen(shown)
    assert len(lines) == 2 and lines[1] == "" and lines[0].startswith("step 3/3: loss "), lines
    assert any(version.startswith("step 1/3: ") for version in versions(shown))


def test_logs_get_time_stamps_and_no_rewriting(config, tmp_path):
    done = longrope("run", config, "--db", tmp_path / "search.db", "--workers", 2)
    assert "\r" not in done.stdout and "\x1b" not in done.stdout
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d stage short: ", done.stdout), done.stdout
