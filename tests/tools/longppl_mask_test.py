"""LongPPL masks: key tokens against plain loops over transformers' logits; other tokenizers by characters."""

import os

import numpy as np
import pytest

from preparation import LONG, ROOT, prepare, read, refused

from document_preparation.longppl_mask import key_tokens, mask_by_spans

MODEL = ROOT / "models" / "byte-llama"
LENGTH, WINDOW, STRIDE, ALPHA, BETA = 400, 100, 32, 0.3, -2.0
OPTIONS = ["--evaluator", MODEL, "--window", WINDOW, "--stride", STRIDE, "--alpha", ALPHA, "--beta", BETA]
TEXT = (MODEL / "text" / "heldout.txt").read_text(encoding="ascii")[:3000]


@pytest.fixture(scope="session")
def evaluator():
    torch = pytest.importorskip("torch", reason="NOT RUN: torch is not installed (tools/install_dependencies.sh test)")
    transformers = pytest.importorskip("transformers", reason="NOT RUN: transformers is not installed "
                                       "(tools/install_dependencies.sh test)")
    model = transformers.AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()

    def log_probabilities(ids):
        with torch.inference_mode():
            return model(torch.tensor([ids])).logits[0].double().log_softmax(-1).numpy()

    return log_probabilities


def test_masks_are_those_of_plain_loops(tmp_path, evaluator):
    (tmp_path / "a.txt").write_text(TEXT)
    result = prepare("--byte-level", "--length", LENGTH, "--out", tmp_path / "out.safetensors", *OPTIONS,
                     tmp_path / "a.txt")
    assert result.returncode == 0, result.stderr
    assert "share the tokenizer" in result.stdout
    documents, metadata = read(tmp_path / "out.safetensors")
    ids, mask = documents["a-0000"].tolist(), documents["a-0000.scored"]
    assert ids == [256, *TEXT.encode()[: LENGTH - 1]]
    assert f"LongPPL by byte-llama, alpha {ALPHA}, beta {BETA}, window {WINDOW}, stride {STRIDE}" in metadata["source"]

    full = evaluator(ids)
    windows = {begin: evaluator(ids[begin : begin + WINDOW + STRIDE]) for begin in range(0, LENGTH - WINDOW, STRIDE)}
    certain = 0
    for position in range(LENGTH):
        if position < WINDOW:
            assert mask[position] == 0
            continue
        begin = (position - WINDOW) // STRIDE * STRIDE
        short = windows[begin]
        loss_full = -full[position - 1, ids[position]]
        loss_short = -short[position - begin - 1, ids[position]]
        if min(abs(loss_short - loss_full - ALPHA), abs(loss_full + BETA)) > 1e-3:  # beyond rounding
            certain += 1
            assert mask[position] == (loss_short - loss_full > ALPHA and loss_full < -BETA), position
    assert certain > LENGTH - WINDOW - 5 and 0 < mask.sum() < LENGTH - WINDOW


def test_masks_by_characters_agree_with_those_by_token(tmp_path, tokenizer_directory, trained_tokenizer):
    (tmp_path / "a.txt").write_text(TEXT)
    tokens = 250
    result = prepare("--tokenizer", tokenizer_directory, "--length", tokens, "--out", tmp_path / "out.safetensors",
                     *OPTIONS, tmp_path / "a.txt")
    assert result.returncode == 0, result.stderr
    assert "another tokenizer" in result.stdout and "BOS 256" in result.stdout
    documents, _ = read(tmp_path / "out.safetensors")
    ids, mask = documents["a-0000"].tolist(), documents["a-0000.scored"].tolist()
    texts = [trained_tokenizer.decode([token]) for token in ids[1:]]
    covered = "".join(texts)
    assert TEXT.startswith(covered) and len(covered) < 512

    result = prepare("--byte-level", "--length", len(covered) + 1, "--out", tmp_path / "bytes.safetensors", *OPTIONS,
                     tmp_path / "a.txt")
    assert result.returncode == 0, result.stderr
    of_bytes = read(tmp_path / "bytes.safetensors")[0]["a-0000.scored"][1:]
    expected, place = [0], 0
    for text in texts:
        characters = range(place, place + len(text))
        places = [index for index in characters if not covered[index].isspace()] or characters
        expected.append(int(all(of_bytes[index] for index in places)))
        place += len(text)
    assert mask == expected and 0 < sum(mask)


def test_both_thresholds_must_be_passed():
    full = np.array([1.0, 1.0, 1.0, 2.0, 1.999])
    short = np.array([3.1, 3.0, 2.9, 9.0, 9.0])
    assert key_tokens(full, short, alpha=2.0, beta=-2.0).tolist() == [True, False, False, False, True]


def test_adjacent_key_spans_are_one_and_white_space_does_not_decide():
    text = "the numerous kite"
    key_spans = [(0, 3), (3, 8), (8, 12), (13, 17)]  # the| nume|rous|kite: the last without its space
    spans = [(0, 3), (3, 12), (12, 17), (12, 12), (12, 13)]  # the| numerous| kite|nothing|white space alone
    assert mask_by_spans(np.array([0, 1, 1, 1], bool), key_spans, spans, text).tolist() == [False, True, True, False,
                                                                                           False]
    assert mask_by_spans(np.array([0, 1, 0, 0], bool), key_spans, spans, text).tolist() == [False] * 5


def test_a_document_without_key_tokens_is_left_out_aloud(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "b.txt").write_text("a" * 1000)
    result = prepare("--byte-level", "--length", LENGTH, "--out", tmp_path / "out.safetensors", *OPTIONS,
                     tmp_path / "a.txt", tmp_path / "b.txt")
    assert result.returncode == 0, result.stderr
    assert "b-0000 is left out: it has no key token" in result.stdout
    assert set(read(tmp_path / "out.safetensors")[0]) == {"a-0000", "a-0000.scored"}
    result = prepare("--byte-level", "--length", LENGTH, "--out", tmp_path / "none.safetensors", *OPTIONS,
                     tmp_path / "b.txt")
    assert refused(result, "must have a key token")
    assert not (tmp_path / "none.safetensors").exists()


def test_what_the_evaluator_cannot_do_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    out = ["--byte-level", "--out", tmp_path / "out.safetensors"]
    text = tmp_path / "a.txt"
    assert refused(prepare(*out, "--length", 513, *OPTIONS, text), "513 tokens for 512 positions", "byte-llama")
    assert refused(prepare(*out, "--length", 300, "--bos", 258, *OPTIONS, text), "vocabulary of 258: 258")
    assert refused(prepare(*out, "--length", 300, *OPTIONS, "--window", 0, text), "window", ": 0")
    assert refused(prepare(*out, "--length", 300, *OPTIONS, "--stride", 0, text), "stride", ": 0")
    assert refused(prepare(*out, "--length", 300, "--evaluator", tmp_path, text), "checkpoint", str(tmp_path))
    assert refused(prepare(*out, "--length", 900, "--kind", "needle", *OPTIONS, text), "kind must be text", "needle")


def test_missing_transformers_is_said(tmp_path):
    (tmp_path / "transformers.py").write_text("raise ImportError('not installed here')")
    (tmp_path / "a.txt").write_text(LONG)
    arguments = ["--byte-level", "--length", 16, "--out", tmp_path / "out.safetensors", tmp_path / "a.txt"]
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    assert refused(prepare(*arguments, *OPTIONS, env=env), "`transformers`", "not installed here")
    assert prepare(*arguments, env=env).returncode == 0  # only masks need it
