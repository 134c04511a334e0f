#!/usr/bin/env python3
"""Tokenises texts into a documents file (schemas/documents_file.md) with a Hugging Face tokenizer.

One document per .txt file, per line of .jsonl and .jsonl.gz, per row of .parquet. Each document is the BOS token and the
first tokens of its text, LENGTH tokens in all; texts that are too short are left out and counted. Nothing is padded,
wrapped or joined. Special tokens spelled out in a text are encoded as ordinary text.
"""

import argparse
import gzip
import hashlib
import json
import os
import re
import struct
import sys
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save
from tokenizers import Tokenizer

FORMAT = "longrope-documents/1"
SHARE_TOLERANCE = 1e-9  # 0.1 + 0.2 + 0.7 is not exactly 1
MAX_NAME_BYTES = 200


class InputError(Exception):
    """Input that breaks a rule: rule, value, place. Exit code 2."""


@dataclass(frozen=True)
class Text:
    name: str  # FILE-0000, FILE-0001, … by place in the file
    text: str
    place: str  # for messages


@dataclass(frozen=True)
class Document:
    name: str
    tokens: np.ndarray  # int32 [length]


def decode_utf8(raw: bytes, place: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"text must be UTF-8: byte 0x{raw[error.start]:02x} at offset {error.start} ({place})") from error


def texts_of_lines(lines: Iterator[bytes], stem: str, path: Path, key: str) -> Iterator[Text]:
    for index, raw in enumerate(lines):
        if not raw.strip():
            continue
        place = f"{path}:{index + 1}"
        try:
            record = json.loads(decode_utf8(raw, place))
        except (json.JSONDecodeError, RecursionError) as error:
            raise InputError(f"a line must be one JSON object: {error} ({place})") from error
        if not isinstance(record, dict) or key not in record:
            raise InputError(f'a line must be a JSON object with the key "{key}" ({place})')
        yield Text(f"{stem}-{index:04}", require_text(record[key], key, place), place)


def texts_of_parquet(stem: str, path: Path, key: str) -> Iterator[Text]:
    import pyarrow  # large, and only this format needs it
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        if key not in file.schema_arrow.names:
            raise InputError(f'a Parquet file must have the column "{key}": {file.schema_arrow.names} ({path})')
        index = 0
        for batch in file.iter_batches(batch_size=64, columns=[key]):
            for value in batch.column(0).to_pylist():
                place = f"{path}, row {index}"
                yield Text(f"{stem}-{index:04}", require_text(value, key, place), place)
                index += 1
    except pyarrow.ArrowException as error:
        raise InputError(f"a Parquet file must be readable: {error} ({path})") from error


def require_text(value: object, key: str, place: str) -> str:
    if not isinstance(value, str):
        raise InputError(f'"{key}" must be a string: {type(value).__name__} ({place})')
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:  # JSON can spell a lone surrogate
        raise InputError(f'"{key}" must be valid Unicode: character {error.start} is a lone surrogate ({place})') from error
    return value


def read_texts(path: Path, key: str) -> Iterator[Text]:
    readers = {
        ".txt": lambda stem: iter([Text(f"{stem}-0000", decode_utf8(path.read_bytes(), str(path)), str(path))]),
        ".jsonl": lambda stem: lines_of(path, open, stem, key),
        ".jsonl.gz": lambda stem: lines_of(path, gzip.open, stem, key),
        ".parquet": lambda stem: texts_of_parquet(stem, path, key),
    }
    for suffix, reader in readers.items():
        if path.name.endswith(suffix):
            try:
                yield from reader(path.name.removesuffix(suffix))
            except (OSError, EOFError, zlib.error) as error:
                raise InputError(f"a text file must be readable: {error} ({path})") from error
            return
    raise InputError(f"a text file must end in {', '.join(readers)}: {path}")


def lines_of(path: Path, opener, stem: str, key: str) -> Iterator[Text]:
    with opener(path, "rb") as lines:
        yield from texts_of_lines(lines, stem, path, key)


def read_json_object(path: Path) -> dict:
    try:
        content = json.loads(decode_utf8(path.read_bytes(), str(path)))
    except FileNotFoundError:
        return {}
    except (OSError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"tokenizer settings must be readable JSON: {error} ({path})") from error
    if not isinstance(content, dict):
        raise InputError(f"tokenizer settings must be a JSON object ({path})")
    return content


def load_tokenizer(directory: Path) -> tuple[Tokenizer, str]:
    """The tokenizer and its digest, SHA-256 of tokenizer.json."""
    path = directory / "tokenizer.json"
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"a tokenizer directory must hold tokenizer.json: {error}") from error
    try:
        tokenizer = Tokenizer.from_str(decode_utf8(raw, str(path)))
    except Exception as error:  # the library raises nothing more exact
        if isinstance(error, InputError):
            raise
        raise InputError(f"tokenizer.json must be readable by `tokenizers`: {error} ({path})") from error
    # Both may be set in the file, and would cut or pad documents without a word.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer, hashlib.sha256(raw).hexdigest()


def find_bos(directory: Path, tokenizer: Tokenizer) -> int:
    settings = read_json_object(directory / "tokenizer_config.json")
    token = settings.get("bos_token", read_json_object(directory / "config.json").get("bos_token_id"))
    if isinstance(token, dict):  # {"content": "<s>", …}
        token = token.get("content")
    bos = tokenizer.token_to_id(token) if isinstance(token, str) else token
    if not isinstance(bos, int) or isinstance(bos, bool) or not 0 <= bos < 2**31:
        raise InputError(f"a BOS token must be named by the tokenizer's settings, by --bos ID, or ruled out by --no-bos: "
                         f"{token} ({directory})")
    return bos


def array_bytes(array: np.ndarray) -> bytes:
    return struct.pack("<Q", array.size) + array.tobytes()


def document_digest(tokens: np.ndarray, scored: np.ndarray | None = None) -> str:
    mask = np.zeros(0, dtype=np.uint8) if scored is None else scored
    return hashlib.sha256(array_bytes(tokens.astype("<i4")) + array_bytes(mask.astype(np.uint8))).hexdigest()


def split_position(digest: str) -> float:
    """Where a document falls in [0, 1); the rule of schemas/documents_file.md."""
    leading = int.from_bytes(hashlib.sha256(digest.encode("ascii")).digest()[:8], "big")
    return (leading >> 11) / 2**53


def parse_split(text: str) -> list[tuple[str, float]]:
    shares: list[tuple[str, float]] = []
    for part in text.split(","):
        match = re.fullmatch(r"([A-Za-z0-9_-]+):((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)", part)
        if not match or not 0.0 < float(match[2]) <= 1.0:
            raise InputError(f"a split must be written NAME:SHARE,NAME:SHARE with shares in (0, 1]: {part}")
        if match[1] in (name for name, _ in shares):
            raise InputError(f"names in a split must differ: {match[1]}")
        shares.append((match[1], float(match[2])))
    if sum(share for _, share in shares) > 1.0 + SHARE_TOLERANCE:
        raise InputError(f"shares of a split must add up to at most 1: {text}")
    return shares


def split_documents(documents: list[Document], shares: list[tuple[str, float]]) -> dict[str, list[Document]]:
    ends: list[float] = []
    total = 0.0
    for _, share in shares:  # one by one: sum() may round differently from the C++ tool
        total += share
        ends.append(total)
    if abs(total - 1.0) <= SHARE_TOLERANCE:
        ends[-1] = 1.0
    parts: dict[str, list[Document]] = {name: [] for name, _ in shares}
    names = list(parts)
    for document in documents:
        part = bisect_right(ends, split_position(document_digest(document.tokens)))
        if part < len(names):
            parts[names[part]].append(document)
    for name, part_documents in parts.items():
        if not part_documents:
            raise InputError(f"every share of a split must get a document: none of {len(documents)} falls to {name}")
    return parts


def write_documents(documents: list[Document], path: Path, tokenizer_digest: str, source: str) -> None:
    """Whole or not at all: written beside, then renamed."""
    metadata = {"format": FORMAT, "tokenizer_digest": tokenizer_digest, "source": source}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(save({document.name: document.tokens for document in documents}, metadata=metadata))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def require_name(name: str, taken: set[str], place: str) -> None:
    if len(name.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES or not name.isprintable():
        raise InputError(f"a document's name must be at most {MAX_NAME_BYTES} printable bytes ({place})")
    if name in taken:
        raise InputError(f"names of documents must differ: {name} ({place})")
    taken.add(name)


def prepare(arguments: argparse.Namespace) -> None:
    if arguments.length < 2:
        raise InputError(f"length must be at least 2 tokens: {arguments.length}")
    shares = parse_split(arguments.split) if arguments.split else []
    tokenizer, tokenizer_digest = load_tokenizer(arguments.tokenizer)
    prefix: list[int] = []
    if not arguments.no_bos:
        prefix = [find_bos(arguments.tokenizer, tokenizer) if arguments.bos is None else arguments.bos]

    documents: list[Document] = []
    names: set[str] = set()
    too_short = 0
    for path in arguments.texts:
        for text in read_texts(path, arguments.text_key):
            require_name(text.name, names, text.place)
            ids = prefix + tokenizer.encode(text.text, add_special_tokens=False).ids[: arguments.length - len(prefix)]
            if len(ids) < arguments.length:
                too_short += 1
                continue
            documents.append(Document(text.name, np.asarray(ids, dtype=np.int32)))
    print(f"{len(documents)} documents of {arguments.length} tokens; {too_short} left out as shorter")
    if not documents:
        raise InputError(f"a text must have at least {arguments.length} tokens: none of {too_short} has")
    if arguments.count is not None:
        if not 1 <= arguments.count <= len(documents):
            raise InputError(f"count must lie in [1, {len(documents)}], the documents there are: {arguments.count}")
        documents = [documents[i * len(documents) // arguments.count] for i in range(arguments.count)]

    parts = {arguments.out: documents}
    if shares:
        parts = {arguments.out.with_name(f"{arguments.out.stem}-{name}{arguments.out.suffix}"): part
                 for name, part in split_documents(documents, shares).items()}
    source = ", ".join(path.name for path in arguments.texts)
    for path, part in parts.items():
        write_documents(part, path, tokenizer_digest, source)
        print(f"{path}: {len(part)} documents")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+", type=Path, metavar="TEXT", help=".txt, .jsonl, .jsonl.gz or .parquet")
    parser.add_argument("--tokenizer", required=True, type=Path, metavar="DIR", help="directory with tokenizer.json")
    parser.add_argument("--length", required=True, type=int, metavar="N", help="tokens per document, BOS included")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="the .safetensors file to write")
    parser.add_argument("--count", type=int, metavar="N", help="so many documents, evenly spaced (default: all)")
    parser.add_argument("--split", metavar="NAME:SHARE,…", help="one file per name, OUT-NAME; e.g. search:0.4,heldout:0.6")
    parser.add_argument("--text-key", default="text", metavar="KEY", help="JSON key or Parquet column (default: text)")
    bos = parser.add_mutually_exclusive_group()
    bos.add_argument("--bos", type=int, metavar="ID", help="BOS token (default: what the tokenizer's settings name)")
    bos.add_argument("--no-bos", action="store_true", help="no BOS token")
    return parser.parse_args(arguments)


def main() -> int:
    try:
        prepare(parse_arguments())
    except InputError as error:
        print(f"prepare_documents: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"prepare_documents: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
