"""Needle and passkey documents: exact lengths, whole heads and tails, masks of exactly the answer, depths."""

import re

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from preparation import ROOT, prepare, read, refused

BOOK = (ROOT / "models" / "byte-llama" / "text" / "heldout.txt").read_text(encoding="ascii")[:20_000]
HEADS = {"needle": "A special magic number is hidden", "passkey": "There is an important info hidden"}
ENDS = {"needle": r"mentioned in the provided text is (\d{7})\.$",
        "passkey": r"What is the pass key\? The pass key is (\d{5})$"}
NEEDLES = {"needle": r"One of the special magic numbers for [a-z]+-[a-z]+ is: (\d{7})\.\n",
           "passkey": r"The pass key is (\d{5})\. Remember it\. \1 is the pass key\.\n"}


class Tokens:
    """How to prepare with one kind of tokens, and what they mean."""

    def __init__(self, options, bos, decode):
        self.options, self.bos, self.decode = options, bos, decode


BYTES = Tokens(["--byte-level"], 256, lambda ids: bytes(ids).decode("utf-8"))


def byte_level_bpe(pre_tokenizer):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, ["<s>"], pre_tokenizers.ByteLevel.alphabet()


def gpt_2():
    return byte_level_bpe(pre_tokenizers.ByteLevel(add_prefix_space=False))


def llama_3():
    """Digits in groups of three, apart from the space before them."""
    words = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    return byte_level_bpe(pre_tokenizers.Sequence([pre_tokenizers.Split(words, "isolated"),
                                                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]))


def llama_2():
    """A space before the text, no pre-tokenizer, bytes for what has no token."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    return tokenizer, ["<s>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))], []


@pytest.fixture(scope="session", params=["byte-level", gpt_2, llama_2, llama_3],
                ids=lambda form: getattr(form, "__name__", form))
def tokens(request, tmp_path_factory):
    if request.param == "byte-level":
        return BYTES
    tokenizer, special_tokens, alphabet = request.param()
    trainer = trainers.BpeTrainer(vocab_size=800, special_tokens=special_tokens, initial_alphabet=alphabet,
                                  max_token_length=8, show_progress=False)
    tokenizer.train_from_iterator(BOOK.split(" "), trainer)
    directory = tmp_path_factory.mktemp(request.param.__name__)
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text('{"bos_token": "<s>"}')
    # The trainer takes Llama 2's tokens of single bytes only as special ones.
    return Tokens(["--tokenizer", directory], 0, lambda ids: tokenizer.decode(ids, skip_special_tokens=False))


def made(tokens, kind, length, out, *arguments):
    texts = [out.with_name("book.txt")] if kind == "needle" else []
    for path in texts:
        path.write_text(BOOK)
    result = prepare(*tokens.options, "--kind", kind, "--length", length, "--out", out, *arguments, *texts)
    assert result.returncode == 0, result.stderr
    arrays, metadata = read(out)
    return {name: (array.tolist(), arrays[name + ".scored"]) for name, array in arrays.items()
            if not name.endswith(".scored")}, metadata


@pytest.mark.parametrize("length", [640, 641, 1000])
@pytest.mark.parametrize("kind", ["needle", "passkey"])
def test_documents_have_the_exact_length_and_whole_heads_and_tails(tmp_path, tokens, kind, length):
    documents, _ = made(tokens, kind, length, tmp_path / "out.safetensors")
    assert len(documents) == 5
    for name, (ids, scored) in documents.items():
        assert len(ids) == len(scored) == length, name
        assert ids[0] == tokens.bos and tokens.bos not in ids[1:]
        text = tokens.decode(ids[1:])
        assert text.startswith(HEADS[kind])
        assert re.search(ENDS[kind], text)[1] == re.search(NEEDLES[kind], text)[1]


@pytest.mark.parametrize("kind", ["needle", "passkey"])
def test_mask_counts_exactly_the_digits_of_the_answer(tmp_path, tokens, kind):
    documents, _ = made(tokens, kind, 700, tmp_path / "out.safetensors", "--samples", 3)
    assert len(documents) == 15
    for ids, scored in documents.values():
        answer = [token for token, counts in zip(ids, scored) if counts]
        assert scored.dtype == np.uint8
        assert tokens.decode(answer).strip() == re.search(ENDS[kind], tokens.decode(ids[1:]))[1]
        positions = np.flatnonzero(scored)
        assert np.array_equal(positions, np.arange(positions[0], positions[-1] + 1))  # one answer
        assert positions[-1] == len(ids) - (2 if kind == "needle" else 1)


@pytest.mark.parametrize("kind", ["needle", "passkey"])
def test_the_needle_lies_at_its_depth(tmp_path, tokens, kind):
    documents, _ = made(tokens, kind, 1200, tmp_path / "out.safetensors", "--depths", "0,0.1,0.5,0.9,1")
    for name, (ids, _) in documents.items():
        text = tokens.decode(ids[1:])
        needle = re.search(NEEDLES[kind], text)
        before = len(text[text.index("\n") : needle.start()])
        after = len(text[needle.end() : text.rindex("What is")])
        assert before / (before + after) == pytest.approx(float(name.rsplit("-", 2)[1]), abs=0.03), name


def depths_and_stems(path):
    documents = [name.rsplit("-", 2) for name in read(path)[0] if not name.endswith(".scored")]
    return sorted(depth for _, depth, _ in documents), sorted(stem for stem, _, _ in documents)


@pytest.mark.parametrize("count, expected", [
    (1, ["0.000"]), (2, ["0.000", "0.500"]), (4, ["0.000", "0.250", "0.500", "0.750"]),
    (7, ["0.000", "0.000", "0.250", "0.500", "0.500", "0.750", "1.000"]),
    (20, sorted(["0.000", "0.250", "0.500", "0.750", "1.000"] * 4)),
])
@pytest.mark.parametrize("kind", ["needle", "passkey"])
def test_count_spreads_over_the_depths(tmp_path, kind, count, expected):
    texts, samples = [], 4
    if kind == "needle":
        texts, samples = [tmp_path / f"book{index}.txt" for index in range(4)], 1
        for index, path in enumerate(texts):
            path.write_text(BOOK[index:])
    out = tmp_path / "out.safetensors"
    result = prepare("--byte-level", "--kind", kind, "--length", 640, "--samples", samples, "--count", count, "--out",
                     out, *texts)
    assert result.returncode == 0, result.stderr
    depths, stems = depths_and_stems(out)
    assert depths == expected
    if kind == "needle":
        assert len(set(stems)) == min(count, 4)  # of as many texts as can be


def test_a_pass_key_is_in_one_part_of_a_split_at_every_length(tmp_path):
    result = prepare("--byte-level", "--kind", "passkey", "--length", "640,900", "--samples", 3, "--split",
                     "a:0.5,b:0.5", "--out", tmp_path / "key.safetensors")
    assert result.returncode == 0, result.stderr
    for part in "ab":
        names = [read(tmp_path / f"key-{length}-{part}.safetensors")[0].keys() for length in (640, 900)]
        assert names[0] == names[1] and len(names[0]) > 0


def test_filler_is_the_book_in_its_order(tmp_path, tokens):
    documents, _ = made(tokens, "needle", 900, tmp_path / "out.safetensors", "--depths", "0.5")
    text = tokens.decode(next(iter(documents.values()))[0][1:])
    needle = re.search(NEEDLES["needle"], text)
    filler = text[text.index("\n") + 1 : needle.start() - 1] + text[needle.end() : text.rindex("\nWhat is")]
    assert BOOK.startswith(filler)


def test_seed_and_name_choose_words_and_digits(tmp_path, tokens):
    first, _ = made(tokens, "needle", 640, tmp_path / "a.safetensors", "--samples", 2)
    again, _ = made(tokens, "needle", 640, tmp_path / "b.safetensors", "--samples", 2)
    other, _ = made(tokens, "needle", 640, tmp_path / "c.safetensors", "--samples", 2, "--seed", 2)
    assert all(first[name][0] == again[name][0] for name in first)
    assert first.keys() == again.keys() == other.keys()

    def needle(document):
        return re.search(NEEDLES["needle"], tokens.decode(document[0][1:]))[0]

    assert len({needle(document) for document in first.values()}) == len(first)
    assert all(needle(first[name]) != needle(other[name]) for name in first)


def test_every_length_gets_its_file_and_the_same_needles(tmp_path, tokens):
    result = prepare(*tokens.options, "--kind", "passkey", "--length", "640,900", "--out", tmp_path / "key.safetensors")
    assert result.returncode == 0, result.stderr
    short, _ = read(tmp_path / "key-640.safetensors")
    long, metadata = read(tmp_path / "key-900.safetensors")
    assert short.keys() == long.keys() and not (tmp_path / "key.safetensors").exists()
    assert {array.size for array in short.values()} == {640} and {array.size for array in long.values()} == {900}
    assert metadata["source"] == "passkey, seed 1"
    for name in short:
        if name.endswith(".scored"):
            answers = [arrays[name.removesuffix(".scored")][arrays[name] == 1].tolist() for arrays in (short, long)]
            assert answers[0] == answers[1]


@pytest.mark.parametrize("missing", [0, 1, 40])
def test_a_text_that_does_not_fill_the_document_is_left_out(tmp_path, missing):
    # What the other parts leave: 640 less BOS and everything but the book, at any depth.
    documents, _ = made(BYTES, "needle", 640,
                        tmp_path / "out.safetensors", "--depths", "0")
    text = bytes(next(iter(documents.values()))[0][1:]).decode()
    book = text[re.search(NEEDLES["needle"], text).end() : text.rindex("\nWhat is")]
    (tmp_path / "book.txt").write_text(book[: len(book) - missing])
    result = prepare("--byte-level", "--kind", "needle", "--length", 640, "--depths", "0", "--out",
                     tmp_path / "short.safetensors", tmp_path / "book.txt")
    if missing == 0:
        assert result.returncode == 0, result.stderr
        assert (tmp_path / "short.safetensors").exists()
    else:
        assert refused(result, "at least 640 tokens", "none of 1 has")
        assert not (tmp_path / "short.safetensors").exists()


@pytest.mark.parametrize(("arguments", "words"), [
    (["--kind", "needle", "--length", "300", "book.txt"], ["length must hold", ": 300", "book-0000-0.000-00"]),
    (["--kind", "passkey", "--length", "640", "book.txt"], ["their own filler", "book.txt"]),
    (["--kind", "needle", "--length", "640"], ["must be made from a TEXT"]),
    (["--kind", "text", "--length", "640"], ["must be made from a TEXT"]),
    (["--kind", "needle", "--length", "640", "--samples", "0", "book.txt"], ["samples", ": 0"]),
    (["--kind", "needle", "--length", "640", "--depths", "0,1.5", "book.txt"], ["depths", "1.5"]),
    (["--kind", "needle", "--length", "640,640", "book.txt"], ["lengths must differ"]),
    (["--kind", "haystack", "--length", "640", "book.txt"], ["haystack"]),
])
def test_bad_requests_are_refused(tmp_path, arguments, words):
    (tmp_path / "book.txt").write_text(BOOK)
    arguments = [tmp_path / argument if argument == "book.txt" else argument for argument in arguments]
    assert refused(prepare("--byte-level", "--out", tmp_path / "out.safetensors", *arguments), *words)
    assert [path.name for path in tmp_path.iterdir()] == ["book.txt"]


def test_byte_level_texts_are_their_bytes(tmp_path):
    (tmp_path / "a.txt").write_text("Größe " * 20, encoding="utf-8")
    result = prepare("--byte-level", "--length", 50, "--out", tmp_path / "out.safetensors", tmp_path / "a.txt")
    assert result.returncode == 0, result.stderr
    documents, metadata = read(tmp_path / "out.safetensors")
    assert documents["a-0000"].tolist() == [256, *("Größe " * 20).encode()[:49]]
    assert metadata["tokenizer_digest"] == "byte-level"
