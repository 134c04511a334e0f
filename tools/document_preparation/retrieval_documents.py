"""Documents that hide something and ask for it at their end: needle (LongRoPE2) and passkey (Landmark attention).

The mask counts exactly the tokens of the answer's digits. Head, needle, question and answer are always whole: only the
filler is cut, so that the document has exactly its length.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from document_preparation.documents_file import Document
from document_preparation.input_error import InputError
from document_preparation.tokenization import Encoded

ADJECTIVES = ["ancient", "brave", "calm", "distant", "eager", "faithful", "gentle", "humble", "idle", "jolly", "keen",
              "lively", "mellow", "numerous", "orderly", "patient", "quiet", "rapid", "silent", "tidy", "upright",
              "vivid", "wise", "young"]
NOUNS = ["anchor", "basket", "candle", "drum", "engine", "feather", "garden", "hammer", "island", "jacket", "kite",
         "lantern", "mirror", "needle", "orchard", "pencil", "quilt", "ribbon", "saddle", "table", "umbrella", "violin",
         "window", "yard"]
PASSKEY_FILLER = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
FIRST_SPARE_TOKENS = 16  # filler beyond the wanted length, cut away again: tokens can merge where parts meet


@dataclass(frozen=True)
class Retrieval:
    """What one document hides and asks, in the order of the text; the filler surrounds the needle."""

    head: str
    needle: str
    question: str
    answer: str  # digits
    end: str  # follows the answer


def drawn(key: str, choices: int) -> int:
    """A number in [0, choices) that depends on `key` alone, in every version of Python."""
    return int.from_bytes(hashlib.sha256(key.encode("utf-8")).digest(), "big") % choices


def needle_retrieval(key: str) -> Retrieval:
    word = f"{ADJECTIVES[drawn(key + '/adjective', len(ADJECTIVES))]}-{NOUNS[drawn(key + '/noun', len(NOUNS))]}"
    number = str(1_000_000 + drawn(key + "/number", 9_000_000))
    return Retrieval(
        head="A special magic number is hidden within the following text. Make sure to memorize it. I will quiz you "
             "about the number afterwards.",
        needle=f"One of the special magic numbers for {word} is: {number}.",
        question=f"What is the special magic number for {word} mentioned in the provided text? The special magic "
                 f"number for {word} mentioned in the provided text is",
        answer=number, end=".")


def passkey_retrieval(key: str) -> Retrieval:
    number = str(10_000 + drawn(key + "/number", 90_000))
    return Retrieval(
        head="There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. I will "
             "quiz you about the important information there.",
        needle=f"The pass key is {number}. Remember it. {number} is the pass key.",
        question="What is the pass key? The pass key is", answer=number, end="")


RETRIEVALS = {"needle": needle_retrieval, "passkey": passkey_retrieval}


def passkey_filler(tokens, length: int) -> str:
    """The passkey filler, repeated until it has at least `length` tokens."""
    repeats = 2 + 2 * (length + FIRST_SPARE_TOKENS) // len(tokens.encode(PASSKEY_FILLER).ids)  # far more than enough
    return " ".join([PASSKEY_FILLER] * repeats)


class TooShort(Exception):
    """The filler does not fill the document."""


class Filler:
    """A text that is cut between its tokens."""

    def __init__(self, tokens, text: str):
        self._text = text
        # [tokens + 1]: how many characters the first 0, 1, … tokens cover.
        self._ends = [0, *(end for _, end in tokens.encode(text).spans)]
        self.tokens = len(self._ends) - 1

    def between(self, first: int, last: int) -> str:
        return self._text[self._ends[first] : self._ends[last]]


def assembled(retrieval: Retrieval, before: str, after: str) -> tuple[str, tuple[int, int], tuple[int, int]]:
    """The whole text, and the [first, last) characters of the filler's last part and of the answer."""
    text = retrieval.head + "\n"
    last_part = (len(text), len(text) + len(before))
    if before:
        text += before + "\n"
    text += retrieval.needle + "\n"
    if after:
        last_part = (len(text), len(text) + len(after))
        text += after + "\n"
    text += retrieval.question + " "
    answer = (len(text), len(text) + len(retrieval.answer))
    return text + retrieval.answer + retrieval.end, last_part, answer


def without(encoded: Encoded, part: tuple[int, int], excess: int) -> Encoded:
    """`encoded` without the last `excess` tokens that lie wholly in `part`. Raises TooShort where there are fewer."""
    if excess == 0:
        return encoded
    inside = [index for index, (first, last) in enumerate(encoded.spans) if part[0] <= first and last <= part[1]]
    if not 0 < excess <= len(inside):
        raise TooShort
    removed = set(inside[-excess:])
    kept = [index for index in range(len(encoded.ids)) if index not in removed]
    return Encoded([encoded.ids[index] for index in kept], [encoded.spans[index] for index in kept])


def retrieval_document(name: str, retrieval: Retrieval, filler: Filler, depth: float, length: int, tokens,
                       bos: list[int]) -> Document:
    """Exactly `length` tokens, with a share of about `depth` of the filler before the needle. Raises TooShort."""
    bare = len(bos) + len(tokens.encode(assembled(retrieval, "", "")[0]).ids)
    wanted = length - bare
    if wanted < 0:
        raise InputError(f"length must hold needle, question and answer, {bare} tokens: {length} (document {name})")
    before = round(depth * wanted)
    spare = FIRST_SPARE_TOKENS
    while True:
        last = min(wanted + spare, filler.tokens) if wanted else 0
        split = before if before < wanted else last
        if split > last:
            raise TooShort
        text, last_part, answer = assembled(retrieval, filler.between(0, split), filler.between(split, last))
        encoded = tokens.encode(text)
        excess = len(bos) + len(encoded.ids) - length
        if excess >= 0 or last == filler.tokens:
            break
        spare *= 2
    encoded = without(encoded, last_part, excess)
    scored = [0] * len(bos) + [int(first < answer[1] and last > answer[0]) for first, last in encoded.spans]
    ids = bos + encoded.ids
    digits = tokens.decode([token for token, counts in zip(ids, scored) if counts]).strip()
    if digits != retrieval.answer:
        raise InputError(f"a tokenizer must keep the digits of an answer apart from other text: \"{digits}\" for "
                         f"{retrieval.answer} (document {name})")
    return Document(name, np.asarray(ids, dtype=np.int32), np.asarray(scored, dtype=np.uint8))


def retrieval_documents(kind: str, stem: str, filler: Filler, depths: list[float], samples: int, seed: int,
                        length: int, tokens, bos: list[int]) -> Iterator[Document]:
    """`samples` documents at each depth, called STEM-DEPTH-SAMPLE; key words and digits depend on seed and name."""
    for depth in depths:
        for sample in range(samples):
            name = f"{stem}-{depth:.3f}-{sample:02}"
            retrieval = RETRIEVALS[kind](f"{seed}/{kind}/{name}")
            yield retrieval_document(name, retrieval, filler, depth, length, tokens, bos)


def spread_over_depths(documents: list[Document], count: int) -> list[Document]:
    """`count` of the documents, as many of each depth as can be, of texts and samples at even distances. Where they
    cannot be equally many, the depths with one more lie at even distances."""
    by_depth: dict[str, list[int]] = {}
    for index, document in enumerate(documents):
        by_depth.setdefault(document.name.rsplit("-", 2)[1], []).append(index)
    groups = list(by_depth.values())
    depths: list[int] = []  # one for each document to choose
    while (left := count - len(depths)) > 0:
        open_groups = [depth for depth, group in enumerate(groups) if depths.count(depth) < len(group)]
        taken = min(left, len(open_groups))
        depths += [open_groups[k * len(open_groups) // taken] for k in range(taken)]
    chosen: set[int] = set()
    for k, depth in enumerate(depths):  # over all texts at once, so that no text gets all of them
        group = groups[depth]
        place = k * len(group) // count
        while group[place] in chosen:
            place = (place + 1) % len(group)
        chosen.add(group[place])
    return [documents[index] for index in sorted(chosen)]
