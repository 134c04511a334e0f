"""Texts from .txt, .jsonl, .json and .parquet files; all but the last may be compressed (.gz, .zst)."""

import gzip
import hashlib
import io
import itertools
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from document_preparation.input_error import InputError

BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True)
class Text:
    name: str  # FILE-0000, FILE-0001, … by place in the file
    text: str | None  # without a byte order mark; None: the file says null
    place: str  # for messages

    @property
    def digest(self) -> str:
        """SHA-256 of the text in UTF-8, in hex: its identity. Not for null."""
        return hashlib.sha256(self.text.encode("utf-8")).hexdigest()


def decode_utf8(raw: bytes, path: Path, first_line: int = 1) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = first_line + raw.count(b"\n", 0, error.start)
        raise InputError(f"text must be UTF-8: byte 0x{raw[error.start]:02x} ({path}:{line})") from error


def without_mark(raw: bytes) -> bytes:
    return raw.removeprefix(BYTE_ORDER_MARK.encode("utf-8"))


MISSING = object()


def find(record: object, key: str) -> object:
    """The value under `key`. A key that has the dots itself comes before one that leads into nested objects; null on
    the way is null. MISSING where there is none."""
    if record is None:
        return None
    if not isinstance(record, dict):
        return MISSING
    if key in record:
        return record[key]
    dots = [index for index, character in enumerate(key) if character == "."]
    for dot in reversed(dots):
        if key[:dot] in record:
            return find(record[key[:dot]], key[dot + 1 :])
    return MISSING


def texts_of_txt(file: BinaryIO, stem: str, path: Path, key: str) -> Iterator[Text]:
    yield Text(f"{stem}-0000", require_text(decode_utf8(file.read(), path), key, str(path)), str(path))


def texts_of_lines(lines: Iterator[bytes], stem: str, path: Path, key: str) -> Iterator[Text]:
    for index, raw in enumerate(lines):
        raw = without_mark(raw) if index == 0 else raw
        if not raw.strip():
            continue
        place = f"{path}:{index + 1}"
        try:
            record = json.loads(decode_utf8(raw, path, index + 1))
        except (json.JSONDecodeError, RecursionError) as error:
            raise InputError(f"a line must be one JSON object: {error} ({place})") from error
        value = MISSING if record is None else find(record, key)
        if value is MISSING:
            raise InputError(f'a line must be a JSON object with the key "{key}" ({place})')
        yield Text(f"{stem}-{index:04}", require_text(value, key, place), place)


def texts_of_json(file: BinaryIO, stem: str, path: Path, key: str) -> Iterator[Text]:
    """An array of texts or of objects with one; or an object on each line, which is often called .json too."""
    read: list[bytes] = []
    for line in file:
        read.append(line)
        if without_mark(line).strip():
            break
    if not read or not without_mark(read[-1]).lstrip().startswith(b"["):
        yield from texts_of_lines(itertools.chain(read, file), stem, path, key)
        return
    try:
        elements = json.loads(decode_utf8(without_mark(b"".join(read) + file.read()), path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"a JSON file must be one array, or one JSON object on each line: {error} ({path})") from error
    for index, element in enumerate(elements):
        place = f"{path}, element {index}"
        value = element if element is None or isinstance(element, str) else find(element, key)
        if value is MISSING:
            raise InputError(f'an element must be a string or a JSON object with the key "{key}" ({place})')
        yield Text(f"{stem}-{index:04}", require_text(value, key, place), place)


def has_column(schema, key: str) -> bool:
    """Whether a Parquet schema, or a struct in it, has `key`; the rule of find()."""
    fields = {field.name: field.type for field in schema}
    if key in fields:
        return True
    dots = [index for index, character in enumerate(key) if character == "."]
    for dot in reversed(dots):
        if key[:dot] in fields:
            inner = fields[key[:dot]]
            return hasattr(inner, "fields") and has_column(inner, key[dot + 1 :])
    return False


def texts_of_parquet(path: Path, stem: str, key: str) -> Iterator[Text]:
    import pyarrow  # large, and only this format and .zst need it
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        if not has_column(file.schema_arrow, key):
            raise InputError(f'a Parquet file must have the column "{key}": {file.schema_arrow.names} ({path})')
        index = 0
        for batch in file.iter_batches(batch_size=64, columns=[key]):
            for row in batch.to_pylist():
                place = f"{path}, row {index}"
                yield Text(f"{stem}-{index:04}", require_text(find(row, key), key, place), place)
                index += 1
    except pyarrow.ArrowException as error:
        raise InputError(f"a Parquet file must be readable: {error} ({path})") from error


def require_text(value: object, key: str, place: str) -> str | None:
    """A string without a byte order mark, or None for null."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise InputError(f'"{key}" must be a string: {type(value).__name__} ({place})')
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:  # JSON can spell a lone surrogate
        raise InputError(f'"{key}" must be valid Unicode: character {error.start} is a lone surrogate ({place})') from error
    return value.lstrip(BYTE_ORDER_MARK)


def open_zst(path: Path) -> BinaryIO:
    import pyarrow

    return io.BufferedReader(pyarrow.input_stream(str(path), compression="zstd"))


COMPRESSIONS = {"": lambda path: open(path, "rb"), ".gz": gzip.open, ".zst": open_zst}
FORMATS = {".txt": texts_of_txt, ".jsonl": texts_of_lines, ".json": texts_of_json}


def read_texts(path: Path, key: str) -> Iterator[Text]:
    """All texts of a file in order, empty and repeated ones too."""
    try:
        if path.name.endswith(".parquet"):
            yield from texts_of_parquet(path, path.name.removesuffix(".parquet"), key)
            return
        for (form, reader), (compression, opener) in itertools.product(FORMATS.items(), COMPRESSIONS.items()):
            if path.name.endswith(form + compression):
                with opener(path) as file:
                    yield from reader(file, path.name.removesuffix(form + compression), path, key)
                return
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"a text file must be readable: {error} ({path})") from error
    raise InputError(f"a text file must end in .txt, .jsonl or .json, each also .gz or .zst, or in .parquet: {path}")
