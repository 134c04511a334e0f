"""tools/prepare_documents.py: texts, tokenizers, names, splits and refusals."""

import gzip
import hashlib
import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from tokenizers import Tokenizer

from preparation import LENGTH, LONG, ROOT, read, refused, run

from document_preparation import documents_file
from document_preparation.input_error import InputError

GOLDEN = json.loads((ROOT / "tests" / "fixtures" / "documents" / "golden.json").read_text())
SHORT = "And."


def test_every_format_gives_the_same_documents(tmp_path, tokenizer_directory, trained_tokenizer):
    lines = "".join(json.dumps({"text": text}) + "\n" for text in [LONG, SHORT, LONG[7:]])
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    pyarrow.parquet.write_table(pyarrow.table({"text": [LONG, SHORT, LONG[7:]]}), tmp_path / "c.parquet")
    expected = [[0, *trained_tokenizer.encode(text).ids[: LENGTH - 1]] for text in [LONG, LONG[7:]]]
    digest = hashlib.sha256((tokenizer_directory / "tokenizer.json").read_bytes()).hexdigest()
    out = tmp_path / "out.safetensors"
    for path in [tmp_path / name for name in ["a.jsonl", "b.jsonl.gz", "c.parquet"]]:
        (tmp_path / "d.txt").write_text(LONG[3:])
        result = run(tokenizer_directory, out, path, tmp_path / "d.txt")
        assert result.returncode == 0, result.stderr
        assert "3 documents of 16 tokens; 1 left out as shorter (" in result.stdout
        assert f"{path}, row 1)" in result.stdout or f"{path}:2)" in result.stdout
        documents, metadata = read(out)
        stem = path.name[0]
        assert set(documents) == {f"{stem}-0000", f"{stem}-0002", "d-0000"}
        assert all(tokens.dtype == np.int32 for tokens in documents.values())
        assert [documents[f"{stem}-0000"].tolist(), documents[f"{stem}-0002"].tolist()] == expected
        assert metadata == {"format": "longrope-documents/1", "tokenizer_digest": digest, "source": f"{path.name}, d.txt"}


def test_tokens_decode_to_the_beginning_of_the_text(tmp_path, tokenizer_directory, trained_tokenizer):
    text = "Größe, 語, and the earth. " + LONG
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    assert run(tokenizer_directory, tmp_path / "out.safetensors", "--no-bos", tmp_path / "a.txt", length=40).returncode == 0
    documents, _ = read(tmp_path / "out.safetensors")
    decoded = trained_tokenizer.decode(documents["a-0000"].tolist())
    assert len(documents["a-0000"]) == 40 and len(decoded) > 25
    assert text.startswith(decoded)


def test_segments_are_all_of_a_text_between_bos_and_eos(tmp_path, tokenizer_directory, trained_tokenizer):
    (tokenizer_directory / "tokenizer_config.json").write_text('{"bos_token": "<s>", "eos_token": "</s>"}')
    (tmp_path / "a.txt").write_text(LONG)
    ids = trained_tokenizer.encode(LONG).ids
    out = tmp_path / "out.safetensors"
    assert run(tokenizer_directory, out, "--kind", "segments", tmp_path / "a.txt", length=7).returncode == 0
    documents, _ = read(out)
    assert len(documents) == len(ids) // 5 > 1 and set(documents) == {f"a-0000-{i:04}" for i in range(len(documents))}
    for index in range(len(documents)):
        assert documents[f"a-0000-{index:04}"].tolist() == [0, *ids[5 * index : 5 * index + 5], 1]
    assert run(tokenizer_directory, out, "--kind", "segments", "--no-eos", tmp_path / "a.txt", length=7).returncode == 0
    assert read(out)[0]["a-0000-0001"].tolist() == [0, *ids[6:12]]


def test_an_eos_token_belongs_to_segments_and_must_be_known(tmp_path, tokenizer_directory):
    (tmp_path / "a.txt").write_text(LONG)
    out = tmp_path / "out.safetensors"
    assert refused(run(tokenizer_directory, out, "--kind", "segments", tmp_path / "a.txt"), "EOS", "--no-eos")
    assert refused(run(tokenizer_directory, out, "--eos", 1, tmp_path / "a.txt"), "EOS", "text")
    assert refused(run(tokenizer_directory, out, "--kind", "segments", tmp_path / "a.txt", length=2), "at least 3 tokens")


def test_exactly_long_enough_is_kept_and_one_token_less_is_not(tmp_path, tokenizer_directory, trained_tokenizer):
    (tmp_path / "a.txt").write_text(LONG)
    available = len(trained_tokenizer.encode(LONG).ids) + 1  # with BOS
    assert run(tokenizer_directory, tmp_path / "out.safetensors", tmp_path / "a.txt", length=available).returncode == 0
    result = run(tokenizer_directory, tmp_path / "none.safetensors", tmp_path / "a.txt", length=available + 1)
    assert refused(result, f"at least {available + 1} tokens")
    assert not (tmp_path / "none.safetensors").exists()


def test_truncation_and_padding_set_in_the_tokenizer_are_not_obeyed(tmp_path, tokenizer_directory):
    tokenizer = Tokenizer.from_file(str(tokenizer_directory / "tokenizer.json"))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=100)
    tokenizer.save(str(tokenizer_directory / "tokenizer.json"))
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": LONG}) + "\n" + json.dumps({"text": SHORT}) + "\n")
    result = run(tokenizer_directory, tmp_path / "out.safetensors", tmp_path / "a.jsonl")
    assert "1 documents of 16 tokens; 1 left out" in result.stdout


def test_special_tokens_spelled_out_in_a_text_are_ordinary_text(tmp_path, tokenizer_directory):
    (tmp_path / "a.txt").write_text("</s>" + LONG)
    assert run(tokenizer_directory, tmp_path / "out.safetensors", tmp_path / "a.txt").returncode == 0
    documents, _ = read(tmp_path / "out.safetensors")
    assert documents["a-0000"][0] == 0
    assert 1 not in documents["a-0000"]


@pytest.mark.parametrize(("settings", "config", "expected"), [
    ('{"bos_token": "</s>"}', None, 1),
    ('{"bos_token": {"content": "</s>", "lstrip": false}}', None, 1),
    (None, '{"bos_token_id": 7}', 7),
    ('{"model_max_length": 4}', '{"bos_token_id": 7}', 7),
])
def test_bos_comes_from_the_settings(tmp_path, tokenizer_directory, settings, config, expected):
    (tokenizer_directory / "tokenizer_config.json").unlink()
    if settings:
        (tokenizer_directory / "tokenizer_config.json").write_text(settings)
    if config:
        (tokenizer_directory / "config.json").write_text(config)
    (tmp_path / "a.txt").write_text(LONG)
    result = run(tokenizer_directory, tmp_path / "out.safetensors", tmp_path / "a.txt")
    assert result.returncode == 0, result.stderr
    assert read(tmp_path / "out.safetensors")[0]["a-0000"][0] == expected


def test_a_tokenizer_without_bos_must_be_told_what_to_do(tmp_path, tokenizer_directory):
    (tokenizer_directory / "tokenizer_config.json").write_text('{"bos_token": null}')
    (tokenizer_directory / "config.json").write_text('{"bos_token_id": 7}')
    (tmp_path / "a.txt").write_text(LONG)
    out = tmp_path / "out.safetensors"
    assert refused(run(tokenizer_directory, out, tmp_path / "a.txt"), "BOS", "--no-bos")
    assert run(tokenizer_directory, out, "--bos", "5", tmp_path / "a.txt").returncode == 0
    assert read(out)[0]["a-0000"][0] == 5


def test_count_takes_evenly_spaced_documents(tmp_path, tokenizer_directory):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": LONG[i:]}) + "\n" for i in range(7)))
    assert run(tokenizer_directory, tmp_path / "out.safetensors", "--count", "3", tmp_path / "a.jsonl").returncode == 0
    assert list(read(tmp_path / "out.safetensors")[0]) == ["a-0000", "a-0002", "a-0004"]
    result = run(tokenizer_directory, tmp_path / "out.safetensors", "--count", "8", tmp_path / "a.jsonl")
    assert refused(result, "[1, 7]", "8")


@pytest.mark.parametrize("golden", GOLDEN["documents"], ids=lambda golden: golden["name"])
def test_digest_and_split_position_match_the_golden_values(golden):
    scored = np.array(golden["scored"], dtype=np.uint8) if golden["scored"] else None
    digest = documents_file.document_digest(np.array(golden["tokens"], dtype=np.int32), scored)
    assert digest == golden["digest"]
    assert documents_file.split_position(digest) == golden["split_position"]


def test_split_matches_the_golden_parts():
    documents = [documents_file.Document(golden["name"], np.array(golden["tokens"], dtype=np.int32),
                                         np.array(golden["scored"], dtype=np.uint8) if golden["scored"] else None)
                 for golden in GOLDEN["documents"]]
    parts = documents_file.split_documents(documents, documents_file.parse_split(GOLDEN["split"]))
    for name, part in parts.items():
        expected = [g["name"] for g in GOLDEN["documents"] if g["part"] == name]
        assert [document.name for document in part] == expected


def test_split_writes_disjoint_files_and_no_other(tmp_path, tokenizer_directory):
    lines = [json.dumps({"text": f"{number} " + LONG}) for number in range(40)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    out = tmp_path / "pg19.safetensors"
    result = run(tokenizer_directory, out, "--split", "search:0.5,heldout:0.5", tmp_path / "a.jsonl")
    assert result.returncode == 0, result.stderr
    search, _ = read(tmp_path / "pg19-search.safetensors")
    heldout, _ = read(tmp_path / "pg19-heldout.safetensors")
    assert not out.exists() and not set(search) & set(heldout)
    assert len(search) + len(heldout) == 40 and min(len(search), len(heldout)) > 5


@pytest.mark.parametrize("split", ["", "search", "search:0", "search:1.5", "search:nan", "a:0.5,a:0.5", "a:0.6,b:0.6",
                                   "a/b:0.5", "a:0.5,", "a: 0.5"])
def test_malformed_split_is_refused(split):
    with pytest.raises(InputError):
        documents_file.parse_split(split)


@pytest.mark.parametrize(("name", "content", "words"), [
    ("a.txt", b"In the\n\xff beginning", ["UTF-8", "0xff", "a.txt:2"]),
    ("a.txt", b"In", ["at least 16 tokens", "none of 1 has (", "a.txt)"]),
    ("a.jsonl", b'{"text": "x"}\n{"text": \n', ["one JSON object", "a.jsonl:2"]),
    ("a.jsonl", b'{"text": "x"}\n{"body": "x"}\n', ['"text"', "a.jsonl:2"]),
    ("a.jsonl", b'{"text": 5}', ["must be a string: int", "a.jsonl:1"]),
    ("a.jsonl", b'{"text": "\\ud800"}', ["lone surrogate", "a.jsonl:1"]),
    ("a.jsonl", b'{"text": "x"}\n{"text": "\xff"}', ["UTF-8", "a.jsonl:2"]),
    ("a.jsonl", b"[" * 100_000, ["one JSON object", "a.jsonl:1"]),
    ("a.jsonl.gz", b"no gzip", ["readable", "a.jsonl.gz"]),
    ("a.jsonl.gz", gzip.compress(b'{"text": "' + b"x" * 1000)[:-12], ["readable", "a.jsonl.gz"]),
    ("a.parquet", b"no parquet", ["Parquet", "a.parquet"]),
    ("a.pdf", b"x", ["must end in", "a.pdf"]),
])
def test_bad_text_is_refused_with_its_place(tmp_path, tokenizer_directory, name, content, words):
    (tmp_path / name).write_bytes(content)
    assert refused(run(tokenizer_directory, tmp_path / "out.safetensors", tmp_path / name), *words)
    assert not list(tmp_path.glob("*out.safetensors*"))


def test_parquet_without_the_column_or_with_nulls_is_refused(tmp_path, tokenizer_directory):
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": [LONG, None]}), path)
    out = tmp_path / "out.safetensors"
    assert refused(run(tokenizer_directory, out, path), "NoneType", "row 1")
    assert refused(run(tokenizer_directory, out, "--text-key", "body", path), '"body"', "a.parquet")


def test_a_document_that_repeats_another_is_refused_with_both_places(tmp_path, tokenizer_directory):
    lines = "".join(json.dumps({"text": text}) + "\n" for text in [LONG, LONG[7:], LONG])
    (tmp_path / "a.jsonl").write_text(lines)
    assert refused(run(tokenizer_directory, tmp_path / "out.safetensors", tmp_path / "a.jsonl"), "documents must differ",
                   "a.jsonl:1", "a.jsonl:3")
    # Texts that differ only beyond the length give one document twice.
    (tmp_path / "b.txt").write_text(LONG)
    (tmp_path / "c.txt").write_text(LONG + "more")
    assert refused(run(tokenizer_directory, tmp_path / "out.safetensors", tmp_path / "b.txt", tmp_path / "c.txt"),
                   "c-0000", "b.txt", "c.txt")


@pytest.mark.parametrize("name, content, place", [
    ("a.txt", b" \n\t", "a.txt"),
    ("a.jsonl", b'{"text": "In the beginning"}\n{"text": ""}\n', "a.jsonl:2"),
])
def test_an_empty_text_is_refused_with_its_place(tmp_path, tokenizer_directory, name, content, place):
    (tmp_path / name).write_bytes(content)
    assert refused(run(tokenizer_directory, tmp_path / "out.safetensors", tmp_path / name, length=2), "must not be empty",
                   place)


def test_two_files_of_one_name_are_refused(tmp_path, tokenizer_directory):
    (tmp_path / "b").mkdir()
    for path in [tmp_path / "a.txt", tmp_path / "b" / "a.txt"]:
        path.write_text(LONG)
    result = run(tokenizer_directory, tmp_path / "out.safetensors", tmp_path / "a.txt", tmp_path / "b" / "a.txt")
    assert refused(result, "must differ", "a-0000")


def test_missing_files_are_refused(tmp_path, tokenizer_directory):
    out = tmp_path / "out.safetensors"
    assert refused(run(tokenizer_directory, out, tmp_path / "none.txt"), "none.txt")
    assert refused(run(tmp_path, out, tmp_path / "none.txt"), "tokenizer.json")


def test_unwritable_output_leaves_nothing_behind(tmp_path, tokenizer_directory):
    (tmp_path / "a.txt").write_text(LONG)
    out = tmp_path / "out.safetensors"
    out.mkdir()  # cannot be replaced by a file
    result = run(tokenizer_directory, out, tmp_path / "a.txt")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert not list(tmp_path.glob(".out*"))
