"""`longrope score` on the bundled model: fitness kinds, lengths, blocks by position, memory, refusals."""

import csv
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from longrope_processes import LONGROPE, MODEL, ROOT, copy_model, in_terminal, longrope

MIB = 2**20


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    path = tmp_path_factory.mktemp("documents") / "heldout.safetensors"
    longrope("documents", "--length", 5000, "--count", 2, "--out", path, MODEL / "text" / "heldout.txt")
    return path


@pytest.fixture(scope="module")
def passkeys(tmp_path_factory):
    path = tmp_path_factory.mktemp("passkeys") / "passkeys.safetensors"
    subprocess.run([sys.executable, "-B", ROOT / "tools" / "prepare_documents.py", "--byte-level", "--kind", "passkey",
                    "--length", "510", "--samples", "4", "--out", path], check=True)
    return path


def score(documents, *arguments):
    return longrope("score", "--model", MODEL, "--documents", documents, "--threads", 2, *arguments).stdout


def report(documents, *arguments):
    return json.loads(score(documents, *arguments, "--json"))


def refusal(documents, *arguments):
    done = longrope("score", "--model", MODEL, "--documents", documents, *arguments, check=False)
    assert done.returncode == 2 and not done.stdout, (done.returncode, done.stdout, done.stderr)
    return done.stderr


def results(report):
    """What does not depend on the time it took."""
    timing = {"seconds", "tokens_per_second", "peak_memory_bytes"}
    return [{key: value for key, value in entry.items() if key not in timing} for entry in report["documents"]]


def test_one_length_keeps_its_form(documents):
    found = report(documents, "--length", 512, "--count", 1)
    assert {"model", "device", "length", "factors", "attention_factor", "dtype", "angles", "threads", "documents",
            "total"} <= found.keys() and "lengths" not in found
    document = found["documents"][0]
    assert {"name", "nll_sum", "scored_tokens", "perplexity", "blocks", "seconds", "tokens_per_second",
            "peak_memory_bytes"} == document.keys()
    assert found["fitness"] == "perplexity" and found["length"] == 512 and document["scored_tokens"] == 511
    assert found["total"]["perplexity"] == pytest.approx(math.exp(document["nll_sum"] / 511))


def test_several_lengths_are_a_list_of_what_each_alone_gives(documents):
    arguments = ("--count", 2, "--factors", "yarn")
    both = report(documents, "--length", "512,1024", *arguments)
    assert "documents" not in both and "total" not in both and "length" not in both
    for length, entry in zip([512, 1024], both["lengths"], strict=True):
        alone = report(documents, "--length", length, *arguments)
        assert entry["length"] == length and entry["attention_factor"] == alone["attention_factor"]
        assert results(entry) == results(alone)
    # YaRN's attention factor belongs to the length.
    assert both["lengths"][0]["attention_factor"] == 1.0 < both["lengths"][1]["attention_factor"]


def test_several_factor_sets_are_a_list_of_what_each_alone_gives(documents):
    sets = ["none", "pi", "yarn"]
    named = [argument for name in sets for argument in ("--factors", name)]
    together = report(documents, "--length", "512,1024", *named)
    assert "factors" not in together and "lengths" not in together
    for name, entry in zip(sets, together["factor_sets"], strict=True):
        alone = report(documents, "--length", "512,1024", "--factors", name)
        assert entry["factors"] == name
        for of_set, of_one in zip(entry["lengths"], alone["lengths"], strict=True):
            assert of_set["attention_factor"] == of_one["attention_factor"] and results(of_set) == results(of_one)
    assert "factors must differ: pi" in refusal(documents, "--length", 512, "--factors", "pi", "--factors", "pi")


def test_timings_say_what_the_time_went_to(documents):
    found = report(documents, "--length", 1024, "--count", 1, "--timings")
    phases = found["total"]["timings"]
    assert list(phases) == sorted(["weights", "rows", "projections", "attention", "feed_forward", "output"])
    assert 0 < sum(phase["seconds"] for phase in phases.values()) <= found["total"]["seconds"]
    assert "timings" not in report(documents, "--length", 512, "--count", 1)["total"]
    table = longrope("score", "--model", MODEL, "--documents", documents, "--length", 512, "--timings").stdout
    assert "GF/s" in table and "feed_forward" in table


def test_sliding_windows_give_both_averages(documents):
    found = report(documents, "--length", 1000, "--fitness", "sliding", "--window", 400, "--stride", 150)
    assert found["fitness"] == "sliding" and (found["window"], found["stride"]) == (400, 150)
    for entry in [*found["documents"], found["total"]]:
        assert entry["ppl_token"] == entry["perplexity"] == math.exp(entry["nll_sum"] / entry["scored_tokens"])
    # 399 tokens, then 150 four times, then one: 1000 = 400 + 4 * 150
    assert [entry["windows"] for entry in found["documents"]] == [5, 5] and found["total"]["windows"] == 10
    assert found["documents"][0]["scored_tokens"] == 999
    assert found["total"]["ppl_yarn"] == pytest.approx(
        math.exp(sum(math.log(entry["ppl_yarn"]) for entry in found["documents"]) / 2))
    assert found["total"]["ppl_yarn"] != found["total"]["ppl_token"]
    # The bundled model was trained at 512: windows keep it where it was trained, one pass does not.
    assert found["total"]["ppl_token"] < 3.0 < 2 * report(documents, "--length", 1000)["total"]["perplexity"]


def test_one_window_is_perplexity(documents):
    window = report(documents, "--length", 600, "--fitness", "sliding", "--window", 600, "--stride", 1)
    assert window["total"]["nll_sum"] == report(documents, "--length", 600)["total"]["nll_sum"]
    assert window["total"]["ppl_yarn"] == pytest.approx(window["total"]["ppl_token"], rel=1e-12)


def test_closed_forms_of_sliding_belong_to_the_window(documents):
    arguments = ("--factors", "yarn", "--fitness", "sliding", "--window", 1024, "--stride", 512)
    assert report(documents, "--length", 2048, "--count", 1, *arguments)["attention_factor"] == report(
        documents, "--length", 1024, "--count", 1, "--factors", "yarn")["attention_factor"]


def test_accuracy_counts_answers_that_are_right_in_every_token(passkeys, tmp_path):
    found = report(passkeys, "--length", 510, "--fitness", "accuracy")
    for entry in found["documents"]:
        assert entry["answers"] == 1 and entry["right_answers"] in (0, 1) and entry["scored_tokens"] == 5
        assert entry["accuracy"] == entry["right_answers"]
    total = found["total"]
    assert total["answers"] == 20 == len(found["documents"])
    assert total["right_answers"] == sum(entry["right_answers"] for entry in found["documents"])
    low, high = total["accuracy_interval"]
    assert 0.0 <= low <= total["accuracy"] == total["right_answers"] / 20 <= high <= 1.0
    # Against logits of the first document, read independently.
    name = found["documents"][0]["name"]
    score(passkeys, "--length", 510, "--count", 1, "--logits-out", tmp_path / "logits.safetensors")
    arrays = load_file(passkeys)
    likeliest = load_file(tmp_path / "logits.safetensors")["logits"].argmax(axis=1)
    answer = np.flatnonzero(arrays[name + ".scored"])
    right = bool((likeliest[answer - 1] == arrays[name][answer]).all())
    assert found["documents"][0]["right_answers"] == int(right)
    assert f"{total['right_answers']}/20" in score(passkeys, "--length", 510, "--fitness", "accuracy")


def test_blocks_by_position_are_those_of_the_report(documents, tmp_path):
    path = tmp_path / "blocks.csv"
    found = report(documents, "--length", "4000,5000", "--count", 2, "--by-position", path)
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["document", "from_token", "to_token", "scored_tokens", "nll_sum", "perplexity", "length",
                             "factors"]
    expected = [(entry["name"], str(4096 * index), str(min(4096 * (index + 1), scored["length"])), block[1], block[0])
                for scored in found["lengths"] for entry in scored["documents"]
                for index, block in enumerate(entry["blocks"])]
    assert [(row["document"], row["from_token"], row["to_token"], int(row["scored_tokens"]), float(row["nll_sum"]))
            for row in rows] == expected
    assert len(rows) == 2 + 4 and [row["length"] for row in rows] == ["4000"] * 2 + ["5000"] * 4
    for row in rows:
        assert float(row["perplexity"]) == pytest.approx(math.exp(float(row["nll_sum"]) / int(row["scored_tokens"])))


# A process of its own: what it allocates must not stay in the test's.
STARTER = "import subprocess, sys; held = b'1' * int(sys.argv[1]); raise SystemExit(subprocess.call(sys.argv[2:]))"


def test_peak_memory_is_of_the_scorer_not_of_what_started_it(documents):
    def peak(held):
        command = [sys.executable, "-c", STARTER, held, LONGROPE, "score", "--model", MODEL, "--documents", documents,
                   "--length", 512, "--count", 1, "--json"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
        return json.loads(done.stdout)["total"]["peak_memory_bytes"]

    small, large = peak(1), peak(1024 * MIB)
    assert large < 1024 * MIB
    assert abs(large - small) < 32 * MIB


def test_short_runs_say_nothing_on_standard_error(documents):
    done = longrope("score", "--model", MODEL, "--documents", documents, "--length", 512)
    assert done.stderr == ""


def test_a_terminal_sees_progress_and_its_line_is_cleared(documents):
    shown = in_terminal("score", "--model", MODEL, "--documents", documents, "--length", 5000, shown_on="stderr")
    assert "scoring: " in shown and " % in 0:0" in shown and " left" in shown
    assert shown.endswith("\r\x1b[K")


@pytest.mark.parametrize(("arguments", "words"), [
    (["--length", 512, "--fitness", "ppl"], ["perplexity, sliding or accuracy: ppl", "--fitness"]),
    (["--length", 512, "--fitness", "sliding", "--window", 513, "--stride", 1], ["length of 512: 513", "--window"]),
    (["--length", "1024,512", "--fitness", "sliding", "--window", 600, "--stride", 1], ["length of 512: 600"]),
    (["--length", 512, "--fitness", "sliding", "--window", 256, "--stride", 0], ["1 to 255", ": 0", "--stride"]),
    (["--length", 512, "--fitness", "sliding", "--window", 256, "--stride", 256], ["1 to 255", ": 256", "--stride"]),
    (["--length", 512, "--fitness", "sliding", "--stride", 1], ["--window"]),
    (["--length", 512, "--fitness", "sliding", "--window", 256], ["--stride"]),
    (["--length", 512, "--window", 256], ["fitness sliding: perplexity", "--window"]),
    (["--length", 512, "--fitness", "accuracy"], ["mask of the answers", "heldout-0000", "heldout.safetensors"]),
    (["--length", 5001], ["5001", "5000", "heldout-0000", "heldout.safetensors"]),
    (["--length", "512,5001"], ["5001", "5000", "heldout.safetensors"]),
    (["--length", "512,512"], ["must differ: 512", "--length"]),
    (["--length", "512,1"], ["1", "--length"]),
    (["--length", "512,1024", "--logits-out", "logits.safetensors"], ["one length", "--logits-out"]),
])
def test_bad_input_is_refused_with_rule_value_and_place(documents, arguments, words):
    message = refusal(documents, *arguments)
    for word in words:
        assert word in message, message


def test_an_answer_cut_off_by_the_length_is_refused(passkeys):
    message = refusal(passkeys, "--length", 508, "--fitness", "accuracy")
    assert "first 508 tokens" in message and "passkey-0.000-00" in message and "passkeys.safetensors" in message


def test_documents_of_another_tokenizer_than_the_models_are_refused(documents, tmp_path):
    model = copy_model(tmp_path / "model")
    (model / "tokenizer.json").write_text("{}")
    done = longrope("score", "--model", model, "--documents", documents, "--length", 512, check=False)
    assert done.returncode == 2 and "tokens of the model's tokenizer: byte-level made them" in done.stderr
