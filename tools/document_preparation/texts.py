"""Texts from .txt, .jsonl, .jsonl.gz and .parquet files."""

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from document_preparation.input_error import InputError


@dataclass(frozen=True)
class Text:
    name: str  # FILE-0000, FILE-0001, … by place in the file
    text: str
    place: str  # for messages


def decode_utf8(raw: bytes, path: Path, first_line: int = 1) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = first_line + raw.count(b"\n", 0, error.start)
        raise InputError(f"text must be UTF-8: byte 0x{raw[error.start]:02x} ({path}:{line})") from error


def texts_of_lines(lines: Iterator[bytes], stem: str, path: Path, key: str) -> Iterator[Text]:
    for index, raw in enumerate(lines):
        if not raw.strip():
            continue
        place = f"{path}:{index + 1}"
        try:
            record = json.loads(decode_utf8(raw, path, index + 1))
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
        ".txt": lambda stem: iter([Text(f"{stem}-0000", decode_utf8(path.read_bytes(), path), str(path))]),
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
