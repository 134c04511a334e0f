#!/usr/bin/env python3
"""Tokenises texts into a documents file (schemas/documents_file.md), with a Hugging Face tokenizer or as bytes.

Texts are .txt files, lines of .jsonl, elements or lines of .json (each also with .gz or .zst), rows of .parquet.
Nothing is padded, wrapped or joined; special tokens spelled out in a text are encoded as ordinary text. A document is
LENGTH tokens, BOS included:

  --kind text     the first tokens of a text; with --evaluator a mask of the tokens that need a long context (LongPPL)
  --kind segments all of a text in pieces of LENGTH tokens, each between BOS and EOS, to train on
  --kind needle   a text as filler around a magic number, which is asked for at the end (LongRoPE2)
  --kind passkey  the same with a pass key among sentences that need no TEXT (Landmark attention)

Texts that are empty, null, repeated or too short are left out and named. The masks of needles and pass keys count the
answer's digits only.

--split goes by the SHA-256 of each text: all documents of a text are in one part, at every length and in every run. So
the shares hold approximately, and with few texts they can be far off; a part that would be empty is refused.
"""

import argparse
import dataclasses
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from document_preparation.documents_file import (Document, document_digest, parse_split, require_name,
                                                 split_documents, write_documents)
from document_preparation.input_error import InputError, exit_code_of
from document_preparation.longppl_mask import LongPplMasks, LongPplOptions
from document_preparation.retrieval_documents import (RETRIEVALS, Filler, TooShort, passkey_filler,
                                                      retrieval_documents, spread_over_depths)
from document_preparation.texts import Text
from document_preparation.tokenization import ByteTokens, Encoded, HuggingFaceTokens
from document_preparation.usable_texts import UsableTexts, listed


class Preparation:
    """One run: what is read once and used for every length."""

    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments
        self.shares = parse_split(arguments.split) if arguments.split else []
        self.tokens = ByteTokens() if arguments.byte_level else HuggingFaceTokens(arguments.tokenizer)
        self.texts = UsableTexts(arguments.texts, arguments.text_key, arguments.strict)
        self.bos = self.beginning()
        self.eos = self.special("eos", self.tokens.eos) if arguments.kind == "segments" else []
        self.masks = None
        if arguments.evaluator is not None:
            self.masks = LongPplMasks(
                LongPplOptions(arguments.evaluator, arguments.alpha, arguments.beta, arguments.window,
                               arguments.stride, arguments.device), self.tokens.digest)
            print(self.masks.describe())

    def beginning(self) -> list[int]:
        """BOS or nothing, said in a line: models differ in it, and perplexities with it."""
        given = self.arguments.no_bos or self.arguments.bos is not None
        bos = [] if self.tokens.bos_ruled_out and not given else self.special("bos", self.tokens.bos)
        reason = f": {self.tokens.bos_reason}" if self.tokens.bos_reason and not given else ""
        print((f"every document begins with BOS, token {bos[0]}" if bos else "documents begin without BOS") + reason)
        return bos

    def special(self, name: str, named_by_tokenizer: int | None) -> list[int]:
        if getattr(self.arguments, f"no_{name}"):
            return []
        given = getattr(self.arguments, name)
        token = named_by_tokenizer if given is None else given
        if token is None:
            raise InputError(f"a {name.upper()} token must be named by the tokenizer's settings, by --{name} ID, or ruled "
                             f"out by --no-{name}: none is named ({self.arguments.tokenizer})")
        return [token]

    def text_documents(self, text: Text, length: int) -> Iterator[Document]:
        encoded = self.tokens.encode(text.text)
        count = length - len(self.bos)
        if len(encoded.ids) < count:
            raise TooShort
        encoded = Encoded(encoded.ids[:count], encoded.spans[:count])
        document = Document(text.name, np.asarray(self.bos + encoded.ids, dtype=np.int32))
        if self.masks is None:
            yield document
            return
        masked = self.masks.masked(document, encoded, text.text)
        if masked is None:
            print(f"{text.name} is left out: it has no key token")
        else:
            print(f"{text.name}: {int(masked.scored.sum())} key tokens of {length}")
            yield masked

    def segments(self, text: Text, length: int) -> Iterator[Document]:
        ids = self.tokens.encode(text.text).ids
        count = length - len(self.bos) - len(self.eos)
        if len(ids) < count:
            raise TooShort
        for index in range(len(ids) // count):
            tokens = self.bos + ids[index * count : (index + 1) * count] + self.eos
            yield Document(f"{text.name}-{index:04}", np.asarray(tokens, dtype=np.int32))

    def documents_of(self, text: Text, length: int) -> Iterator[Document]:
        if self.arguments.kind == "text":
            return self.text_documents(text, length)
        if self.arguments.kind == "segments":
            return self.segments(text, length)
        return self.retrievals(text.name, text.text, length)

    def retrievals(self, stem: str, text: str, length: int) -> Iterator[Document]:
        arguments = self.arguments
        yield from retrieval_documents(arguments.kind, stem, Filler(self.tokens, text), arguments.depths,
                                       arguments.samples, arguments.seed, length, self.tokens, self.bos)

    def documents(self, length: int) -> list[Document]:
        arguments = self.arguments
        if arguments.kind == "passkey":  # the texts that differ are what is hidden
            return [dataclasses.replace(document, text_digest=hashlib.sha256(
                        f"{arguments.seed}/passkey/{document.name}".encode()).hexdigest())
                    for document in self.retrievals("passkey", passkey_filler(self.tokens, length), length)]
        documents: list[Document] = []
        names: set[str] = set()
        places: dict[str, str] = {}  # where each document came from, by digest
        too_short: list[str] = []  # places of texts
        repeated: list[str] = []
        for text in self.texts:
            try:  # a text that is too short gives no document at all
                made = list(self.documents_of(text, length))
            except TooShort:
                too_short.append(text.place)
                continue
            for document in made:
                require_name(document.name, names, text.place)
                earlier = places.setdefault(document_digest(document.tokens, document.scored), text.place)
                if earlier == text.place:
                    documents.append(dataclasses.replace(document, text_digest=text.digest))
                elif arguments.strict:
                    raise InputError(f"documents must differ: {document.name} has the tokens of {earlier} "
                                     f"({text.place}); --strict refuses it")
                else:
                    repeated.append(f"{text.place} repeats {earlier}")
        left_out = f" ({listed(too_short)})" if too_short else ""
        print(f"{len(documents)} documents of {length} tokens; {len(too_short)} left out as shorter{left_out}"
              + (f"; {len(repeated)} left out with the tokens of another ({listed(repeated)})" if repeated else ""))
        if not documents and self.masks is not None:
            raise InputError(f"a text must have a key token: none of {length} tokens has (--evaluator)")
        if not documents:
            found = f"none of {len(too_short)} has ({listed(too_short)})" if too_short else "there is no text"
            raise InputError(f"a text must have at least {length} tokens: {found}")
        return documents

    def source(self) -> str:
        arguments = self.arguments
        source = ", ".join(path.name for path in arguments.texts)
        if arguments.kind in RETRIEVALS:
            source = f"{arguments.kind}, seed {arguments.seed}" + (f": {source}" if source else "")
        if arguments.evaluator is not None:
            source += (f"; LongPPL by {arguments.evaluator.resolve().name}, alpha {arguments.alpha}, beta "
                       f"{arguments.beta}, window {arguments.window}, stride {arguments.stride}")
        return source

    def parts(self, length: int, out: Path) -> dict[Path, list[Document]]:
        """The documents of each file to write."""
        documents = self.documents(length)
        count = self.arguments.count
        if count is not None:
            if not 1 <= count <= len(documents):
                raise InputError(f"count must lie in [1, {len(documents)}], the documents there are: {count}")
            if self.arguments.kind in RETRIEVALS:
                documents = spread_over_depths(documents, count)
            else:
                documents = [documents[i * len(documents) // count] for i in range(count)]
        if not self.shares:
            return {out: documents}
        return {named(out, name): part for name, part in split_documents(documents, self.shares).items()}

    def write(self) -> None:
        """All lengths are made before the first file is written: what cannot be right leaves nothing behind."""
        arguments = self.arguments
        parts: dict[Path, list[Document]] = {}
        for length in arguments.length:
            several = len(arguments.length) > 1
            parts |= self.parts(length, named(arguments.out, str(length)) if several else arguments.out)
        for path, part in parts.items():
            write_documents(part, path, self.tokens.digest, self.source())
            print(f"{path}: {len(part)} documents")


def named(path: Path, name: str) -> Path:
    return path.with_name(f"{path.stem}-{name}{path.suffix}")


def prepare(arguments: argparse.Namespace) -> None:
    shortest = 3 if arguments.kind == "segments" else 2  # BOS, one token of the text, EOS
    for length in arguments.length:
        if length < shortest:
            raise InputError(f"length must be at least {shortest} tokens: {length}")
    if arguments.kind != "segments" and (arguments.eos is not None or arguments.no_eos):
        raise InputError(f"kind must be segments for an EOS token: {arguments.kind} (--eos, --no-eos)")
    if arguments.kind == "passkey" and arguments.texts:
        raise InputError("passkey documents must be made without a TEXT, they have their own filler: "
                         f"{arguments.texts[0]}")
    if arguments.kind != "passkey" and not arguments.texts:
        raise InputError(f"{arguments.kind} documents must be made from a TEXT: none is given")
    if arguments.evaluator is not None and arguments.kind != "text":
        raise InputError(f"kind must be text for a LongPPL mask: {arguments.kind} (--evaluator)")
    if arguments.samples < 1:
        raise InputError(f"samples must be at least 1: {arguments.samples}")
    Preparation(arguments).write()


def lengths(text: str) -> list[int]:
    values = [int(part) for part in text.split(",")]
    if len(set(values)) < len(values):
        raise argparse.ArgumentTypeError(f"lengths must differ: {text}")
    return values


def depths(text: str) -> list[float]:
    values = [float(part) for part in text.split(",")]
    if not all(0.0 <= value <= 1.0 for value in values) or len({f"{value:.3f}" for value in values}) < len(values):
        raise argparse.ArgumentTypeError(f"depths must lie in [0, 1] and differ in three decimals: {text}")
    return values


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="*", type=Path, metavar="TEXT",
                        help=".txt, .jsonl, .json (also .gz, .zst) or .parquet")
    tokens = parser.add_mutually_exclusive_group(required=True)
    tokens.add_argument("--tokenizer", type=Path, metavar="DIR", help="directory with tokenizer.json")
    tokens.add_argument("--byte-level", action="store_true", help="a token is a byte, 256 is BOS")
    parser.add_argument("--length", required=True, type=lengths, metavar="N,…",
                        help="tokens per document, BOS included; several lengths give one file each, OUT-LENGTH")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="the .safetensors file to write")
    parser.add_argument("--count", type=int, metavar="N",
                        help="how many documents to keep, evenly spaced; needles and pass keys spread over the depths "
                             "(default: all)")
    parser.add_argument("--split", metavar="NAME:SHARE,…",
                        help="one file per name, OUT-NAME; e.g. search:0.4,heldout:0.6; a text is in one part, so "
                             "shares are approximate")
    parser.add_argument("--text-key", default="text", metavar="KEY",
                        help="JSON key or Parquet column; meta.body is body in meta (default: text)")
    parser.add_argument("--strict", action="store_true", help="refuse empty, null and repeated texts")
    bos = parser.add_mutually_exclusive_group()
    bos.add_argument("--bos", type=int, metavar="ID", help="BOS token (default: what the tokenizer's settings name, "
                     "none where they say add_bos_token: false)")
    bos.add_argument("--no-bos", action="store_true", help="no BOS token")
    eos = parser.add_mutually_exclusive_group()
    eos.add_argument("--eos", type=int, metavar="ID",
                     help="segments: EOS token (default: what the tokenizer's settings name)")
    eos.add_argument("--no-eos", action="store_true", help="segments: no EOS token")
    parser.add_argument("--kind", choices=["text", "segments", *RETRIEVALS], default="text", help="default: text")
    retrieval = parser.add_argument_group("needle and passkey")
    retrieval.add_argument("--depths", type=depths, default=[0.0, 0.25, 0.5, 0.75, 1.0], metavar="SHARE,…",
                           help="share of the filler before what is hidden (default: 0,0.25,0.5,0.75,1)")
    retrieval.add_argument("--samples", type=int, default=1, metavar="N",
                           help="documents for each depth, and for each text if there are texts (default: 1)")
    retrieval.add_argument("--seed", type=int, default=1, metavar="N",
                           help="seed of the key words and digits (default: 1)")
    longppl = parser.add_argument_group("LongPPL")
    longppl.add_argument("--evaluator", type=Path, metavar="DIR", help="checkpoint that chooses the key tokens")
    longppl.add_argument("--alpha", type=float, default=2.0, metavar="NATS",
                         help="least gain of log-probability from the short context to the whole text (default: 2)")
    longppl.add_argument("--beta", type=float, default=-2.0, metavar="NATS",
                         help="least log-probability given the whole text (default: -2)")
    longppl.add_argument("--window", type=int, default=4096, metavar="K",
                         help="tokens of the short context; only tokens after that many can be key (default: 4096)")
    longppl.add_argument("--stride", type=int, default=1024, metavar="N",
                         help="tokens scored at a time; each sees K to K + N - 1 tokens before it (default: 1024)")
    longppl.add_argument("--device", default="cpu", help="where the evaluator runs, as Torch names it (default: cpu)")
    return parser.parse_args(arguments)


def main() -> int:
    arguments = parse_arguments()
    return exit_code_of("prepare_documents", lambda: prepare(arguments))


if __name__ == "__main__":
    sys.exit(main())
