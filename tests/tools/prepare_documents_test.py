"""tools/prepare_documents.py: texts, tokenizers, names, splits and refusals."""

import gzip
import hashlib
import importlib.metadata
import json
import re
import subprocess
import sys

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from tokenizers import Tokenizer, processors

from preparation import LENGTH, LONG, ROOT, TOOL, prepare, read, refused, run

from document_preparation import documents_file
from document_preparation.input_error import InputError
from document_preparation.texts import Text

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
def test_digest_matches_the_golden_values(golden):
    scored = np.array(golden["scored"], dtype=np.uint8) if golden["scored"] else None
    assert documents_file.document_digest(np.array(golden["tokens"], dtype=np.int32), scored) == golden["digest"]


def test_split_position_is_the_beginning_of_the_digest():
    # SHA-256 of "abc", FIPS 180-2.
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert Text("a-0000", "abc", "a.txt").digest == digest
    assert documents_file.split_position(digest) == (0xBA7816BF8F01CFEA >> 11) / 2**53
    assert documents_file.split_position("f" * 64) < 1.0


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


def split_texts(out, *parts):
    """The texts of each part, by what their names say."""
    return [{name.removesuffix(".scored") for name in read(out.with_name(f"{out.stem}-{part}.safetensors"))[0]}
            for part in parts]


@pytest.mark.parametrize("kind", ["text", "needle"])
def test_a_text_is_in_one_part_at_every_length_and_in_every_run(tmp_path, kind):
    texts = [f"Chapter {number}. " + "It was a bright cold day in April. " * 40 for number in range(12)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[5:7]))
    out = tmp_path / "out.safetensors"
    arguments = ["--byte-level", "--kind", kind, "--out", out, "--split", "search:0.5,heldout:0.5"]
    result = prepare(*arguments, "--length", "600,1000", tmp_path / "a.jsonl")
    assert result.returncode == 0, result.stderr
    short, long = (split_texts(tmp_path / f"out-{length}.safetensors", "search", "heldout") for length in (600, 1000))
    assert short == long and all(short) and not short[0] & short[1]
    alone = prepare(*arguments, "--length", "600", "--strict", tmp_path / "a.jsonl")
    assert alone.returncode == 0 and split_texts(out, "search", "heldout") == short
    # Among other texts, under other names.
    result = prepare(*arguments, "--length", "800", tmp_path / "b.jsonl", tmp_path / "a.jsonl")
    assert result.returncode == 0, result.stderr
    both = split_texts(out, "search", "heldout")
    for number in (5, 6):
        assert ({name for name in both[0] if name.startswith(f"b-000{number - 5}")} != set()) == (
            {name for name in short[0] if name.startswith(f"a-000{number}")} != set())


def test_the_segments_of_a_text_stay_together(tmp_path):
    texts = [f"Chapter {number}. " + "It was a bright cold day in April. " * 40 for number in range(12)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    out = tmp_path / "out.safetensors"
    result = prepare("--byte-level", "--kind", "segments", "--out", out, "--split", "train:0.5,heldout:0.5", "--length",
                     100, tmp_path / "a.jsonl")
    assert result.returncode == 0, result.stderr
    train, heldout = ({name.rsplit("-", 1)[0] for name in part} for part in split_texts(out, "train", "heldout"))
    assert train and heldout and not train & heldout


def test_a_part_without_documents_is_refused_with_the_counts_and_nothing_is_written(tmp_path, tokenizer_directory):
    (tmp_path / "a.txt").write_text(LONG)
    result = run(tokenizer_directory, tmp_path / "out.safetensors", "--split", "search:0.5,heldout:0.5",
                 tmp_path / "a.txt")
    assert refused(result, "every share of a split must get a document", "1 documents of 1 texts", "search ",
                   "heldout ", "more texts")
    assert not list(tmp_path.glob("out*"))


def test_a_length_that_cannot_be_made_leaves_no_file_of_another(tmp_path, tokenizer_directory):
    (tmp_path / "a.txt").write_text(LONG)
    result = run(tokenizer_directory, tmp_path / "out.safetensors", tmp_path / "a.txt", length="16,4000")
    assert refused(result, "at least 4000 tokens")
    assert not list(tmp_path.glob("out*"))


def test_the_same_documents_are_the_same_bytes(tmp_path, tokenizer_directory):
    (tmp_path / "a.txt").write_text(LONG)
    out = tmp_path / "out.safetensors"
    written = set()
    for _ in range(4):  # `safetensors` alone writes three keys of metadata in one of six orders
        assert run(tokenizer_directory, out, tmp_path / "a.txt").returncode == 0
        written.add(out.read_bytes())
    assert len(written) == 1
    raw = written.pop()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert list(header) == sorted(header) and list(header["__metadata__"]) == sorted(header["__metadata__"])
    assert int.from_bytes(raw[:8], "little") % 8 == 0


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
    ("a.jsonl.zst", b"no zstd", ["readable", "a.jsonl.zst"]),
    ("a.jsonl.zst", pyarrow.compress(b'{"text": "x"}', codec="zstd", asbytes=True)[:-2], ["readable", "a.jsonl.zst"]),
    ("a.json", b'["x", 5]', ["string", "element 1"]),
    ("a.json", b'[{"text": "x"}, {"body": "x"}]', ['"text"', "element 1"]),
    ("a.json", b'[{"text": "x"}', ["one array", "a.json"]),
    ("a.json", b'{"body": "x"}', ['"text"', "a.json:1"]),
    ("a.pdf", b"x", ["must end in", "a.pdf"]),
])
def test_bad_text_is_refused_with_its_place(tmp_path, tokenizer_directory, name, content, words):
    (tmp_path / name).write_bytes(content)
    assert refused(run(tokenizer_directory, tmp_path / "out.safetensors", tmp_path / name), *words)
    assert not list(tmp_path.glob("*out.safetensors*"))


def rows(*texts):
    return "".join(json.dumps({"text": text}) + "\n" for text in texts)


def test_parquet_without_the_column_is_refused(tmp_path, tokenizer_directory):
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": [LONG, None], "meta": [{"body": LONG}] * 2}), path)
    for key in ["body", "meta.text", "text.body"]:
        result = run(tokenizer_directory, tmp_path / "out.safetensors", "--text-key", key, path)
        assert refused(result, f'"{key}"', "a.parquet")


def test_empty_null_and_repeated_texts_are_left_out_and_counted(tmp_path, tokenizer_directory):
    texts = [LONG, "", None, LONG[7:], LONG, " \n"]
    (tmp_path / "a.jsonl").write_text(rows(*texts))
    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "b.parquet")
    out = tmp_path / "out.safetensors"
    for name, place in [("a.jsonl", ":{}"), ("b.parquet", ", row {}")]:
        first = 1 if name == "a.jsonl" else 0
        at = [str(tmp_path / name) + place.format(first + index) for index in range(len(texts))]
        result = run(tokenizer_directory, out, tmp_path / name)
        assert result.returncode == 0, result.stderr
        assert (f"4 texts left out: 2 empty ({at[1]}, {at[5]}); 1 null ({at[2]}); "
                f"1 repeated ({at[4]} repeats {at[0]})\n") in result.stdout
        assert set(read(out)[0]) == {f"{name[0]}-0000", f"{name[0]}-0003"}
    # Said once for several lengths; the same text in another file repeats too.
    result = run(tokenizer_directory, out, tmp_path / "a.jsonl", tmp_path / "b.parquet", length="16,20")
    assert result.stdout.count("texts left out") == 1 and f"{tmp_path}/b.parquet, row 0 repeats" in result.stdout


@pytest.mark.parametrize("text, words", [
    ("", ["must not be empty", "a-0001"]), (" \n", ["must not be empty", "a-0001"]),
    (None, ["must be a string: null"]), (LONG, ["must differ", "a-0001", "a.jsonl:1"]),
])
def test_strict_refuses_empty_null_and_repeated_texts_with_their_places(tmp_path, tokenizer_directory, text, words):
    (tmp_path / "a.jsonl").write_text(rows(LONG, text))
    result = run(tokenizer_directory, tmp_path / "out.safetensors", "--strict", tmp_path / "a.jsonl")
    assert refused(result, "a.jsonl:2", *words)


def test_texts_that_differ_beyond_the_length_give_one_document(tmp_path, tokenizer_directory):
    (tmp_path / "b.txt").write_text(LONG)
    (tmp_path / "c.txt").write_text(LONG + "more")
    out = tmp_path / "out.safetensors"
    texts = [tmp_path / "b.txt", tmp_path / "c.txt"]
    result = run(tokenizer_directory, out, *texts)
    assert result.returncode == 0, result.stderr
    assert f"1 left out with the tokens of another ({texts[1]} repeats {texts[0]})" in result.stdout
    assert set(read(out)[0]) == {"b-0000"}
    assert refused(run(tokenizer_directory, out, "--strict", *texts), "documents must differ", "c-0000", "b.txt",
                   "c.txt")


def test_texts_without_any_content_are_refused(tmp_path, tokenizer_directory):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf \n\t")
    result = run(tokenizer_directory, tmp_path / "out.safetensors", tmp_path / "a.txt", length=2)
    assert refused(result, "there is no text")


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.txt.zst", "a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.json",
                                  "a.json.gz", "a.json.zst", "strings.json", "lines.json", "lines.json.gz",
                                  "a.parquet"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_every_format_gives_the_text_and_a_byte_order_mark_is_none(tmp_path, tokenizer_directory, trained_tokenizer,
                                                                   name, mark):
    record = json.dumps({"text": mark + LONG}, ensure_ascii=False)
    content = {"a.txt": LONG, "a.jsonl": record + "\n", "a.json": f"\n[{record}\n]", "lines.json": record,
               "strings.json": json.dumps([mark + LONG])}.get(name.removesuffix(".gz").removesuffix(".zst"), "")
    raw = (mark + content).encode()
    if name.endswith(".gz"):
        raw = gzip.compress(raw)
    elif name.endswith(".zst"):
        raw = pyarrow.compress(raw, codec="zstd", asbytes=True)
    (tmp_path / name).write_bytes(raw)
    if name.endswith(".parquet"):
        pyarrow.parquet.write_table(pyarrow.table({"text": [mark + LONG]}), tmp_path / name)
    out = tmp_path / "out.safetensors"
    result = run(tokenizer_directory, out, tmp_path / name)
    assert result.returncode == 0, result.stderr
    expected = [0, *trained_tokenizer.encode(LONG).ids[: LENGTH - 1]]
    assert [tokens.tolist() for tokens in read(out)[0].values()] == [expected]


def test_a_compressed_file_of_several_frames_is_read_to_its_end(tmp_path, tokenizer_directory):
    frames = [pyarrow.compress(rows(text).encode(), codec="zstd", asbytes=True) for text in (LONG, LONG[7:])]
    (tmp_path / "a.jsonl.zst").write_bytes(b"".join(frames))
    out = tmp_path / "out.safetensors"
    assert run(tokenizer_directory, out, tmp_path / "a.jsonl.zst").returncode == 0
    assert len(read(out)[0]) == 2


@pytest.mark.parametrize("record, expected", [
    ({"meta": {"body": LONG}}, LONG), ({"meta.body": LONG, "meta": {"body": LONG[7:]}}, LONG), ({"meta": None}, None),
    ({"meta": {"body": None}}, None),
])
def test_a_key_with_a_dot_leads_into_nested_objects_unless_it_is_there_itself(tmp_path, tokenizer_directory, record,
                                                                              expected):
    (tmp_path / "plain.txt").write_text(LONG[3:])
    (tmp_path / "a.jsonl").write_text(json.dumps(record))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(
        [record], schema=pyarrow.schema([(name, pyarrow.string() if name == "meta.body" else pyarrow.struct(
            {"body": pyarrow.string()})) for name in record])), tmp_path / "b.parquet")
    out = tmp_path / "out.safetensors"
    expected = [0, *Tokenizer.from_file(str(tokenizer_directory / "tokenizer.json")).encode(expected).ids[
        : LENGTH - 1]] if expected else None
    for name in ["a.jsonl", "b.parquet"]:
        result = run(tokenizer_directory, out, "--text-key", "meta.body", tmp_path / name, tmp_path / "plain.txt")
        assert result.returncode == 0, result.stderr
        documents = read(out)[0]
        if expected is None:
            assert "1 texts left out: 1 null" in result.stdout and set(documents) == {"plain-0000"}
        else:
            assert documents[f"{name[0]}-0000"].tolist() == expected


@pytest.mark.parametrize("put, options, beginning, said", [
    (False, [], [], "without BOS: tokenizer_config.json says add_bos_token: false"),
    (False, ["--bos", 0], [0], "BOS, token 0\n"),
    (True, [], [0], "transformers 5 follows that"),
    (True, ["--no-bos"], [], "without BOS\n"),
])
def test_add_bos_token_false_is_followed_as_transformers_does_and_said(tmp_path, tokenizer_directory, put, options,
                                                                       beginning, said):
    (tokenizer_directory / "tokenizer_config.json").write_text(
        '{"bos_token": "<s>", "add_bos_token": false, "tokenizer_class": "PreTrainedTokenizerFast"}')
    if put:
        tokenizer = Tokenizer.from_file(str(tokenizer_directory / "tokenizer.json"))
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
        tokenizer.save(str(tokenizer_directory / "tokenizer.json"))
    (tmp_path / "a.txt").write_text(LONG)
    out = tmp_path / "out.safetensors"
    result = run(tokenizer_directory, out, *options, tmp_path / "a.txt")
    assert result.returncode == 0, result.stderr
    tokens = read(out)[0]["a-0000"].tolist()
    assert (tokens[:1] == [0]) == bool(beginning) and said in result.stdout, result.stdout
    if not options:
        transformers = pytest.importorskip("transformers", reason="NOT RUN: transformers is not installed")
        reference = transformers.AutoTokenizer.from_pretrained(tokenizer_directory)(LONG).input_ids
        assert tokens == reference[:LENGTH]


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


def installed_by(requirements):
    """Names of the distributions that a requirements file installs, with what these need."""
    def name_of(requirement):
        return re.match(r"[A-Za-z0-9_.-]+", requirement)[0]

    wanted = [name_of(line) for line in requirements.read_text().splitlines() if not line.startswith("#")]
    done = set()
    while wanted:
        name = wanted.pop()
        if name not in done:
            done.add(name)
            try:
                wanted += [name_of(needed) for needed in importlib.metadata.requires(name) or []
                           if "extra" not in needed]
            except importlib.metadata.PackageNotFoundError:  # for another platform or version of Python
                pass
    return {name.lower().replace("-", "_") for name in done}


BLOCK = """
import importlib.abc, runpy, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(name + " is not in requirements-documents.txt")

sys.meta_path.insert(0, Blocked())
sys.argv[0] = {tool!r}
sys.path.insert(0, {folder!r})
runpy.run_path({tool!r}, run_name="__main__")
"""


def test_cutting_texts_needs_what_is_installed_for_documents_alone(tmp_path, tokenizer_directory):
    installed = installed_by(ROOT / "tools" / "requirements-documents.txt")
    blocked = {module for module, owners in importlib.metadata.packages_distributions().items()
               if not {owner.lower().replace("-", "_") for owner in owners} & installed}
    assert blocked >= {"torch", "transformers", "pytest"} and "tokenizers" not in blocked
    pyarrow.parquet.write_table(pyarrow.table({"text": [LONG]}), tmp_path / "a.parquet")
    (tmp_path / "b.jsonl.zst").write_bytes(pyarrow.compress(rows(LONG[7:]).encode(), codec="zstd", asbytes=True))
    out = tmp_path / "out.safetensors"
    program = BLOCK.format(blocked=blocked, tool=str(TOOL), folder=str(TOOL.parent))
    result = subprocess.run([sys.executable, "-B", "-c", program, "--tokenizer", tokenizer_directory, "--length", "16",
                             "--out", out, tmp_path / "a.parquet", tmp_path / "b.jsonl.zst"], capture_output=True,
                            text=True)
    assert result.returncode == 0, result.stderr
    assert len(read(out)[0]) == 2
