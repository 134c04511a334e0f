"""Documents, their identity, their split, and the file they are written to (schemas/documents_file.md)."""

import hashlib
import json
import os
import re
import struct
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from document_preparation.input_error import InputError

FORMAT = "longrope-documents/1"
SHARE_TOLERANCE = 1e-9  # 0.1 + 0.2 + 0.7 is not exactly 1
MAX_NAME_BYTES = 200


@dataclass(frozen=True)
class Document:
    name: str
    tokens: np.ndarray  # int32 [length]
    scored: np.ndarray | None = None  # uint8 [length], 1 where a token counts; None: all count
    text_digest: str = ""  # SHA-256 in hex of what it was made from, which decides its part of a split


def array_bytes(array: np.ndarray) -> bytes:
    return struct.pack("<Q", array.size) + array.tobytes()


def document_digest(tokens: np.ndarray, scored: np.ndarray | None = None) -> str:
    mask = np.zeros(0, dtype=np.uint8) if scored is None else scored
    return hashlib.sha256(array_bytes(tokens.astype("<i4")) + array_bytes(mask.astype(np.uint8))).hexdigest()


def split_position(text_digest: str) -> float:
    """Where a text falls in [0, 1): the leading 53 bits of its digest; the rule of schemas/documents_file.md."""
    return (int(text_digest[:16], 16) >> 11) / 2**53


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
    """A part for each share. All documents of a text are in one part, whatever their length and the other texts are."""
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
        part = bisect_right(ends, split_position(document.text_digest))
        if part < len(names):
            parts[names[part]].append(document)
    if not all(parts.values()):
        texts = len({document.text_digest for document in documents})
        counts = ", ".join(f"{name} {len(part)}" for name, part in parts.items())
        raise InputError("every share of a split must get a document, and the digest of a text decides where all its "
                         f"documents go: {len(documents)} documents of {texts} texts give {counts}; give more texts "
                         "or other shares (--split)")
    return parts


def file_bytes(documents: list[Document], tokenizer_digest: str, source: str) -> bytes:
    """The same bytes for the same documents: the header is sorted, for `safetensors` writes metadata in any order."""
    metadata = {"format": FORMAT, "tokenizer_digest": tokenizer_digest, "source": source}
    tensors = {document.name: document.tokens for document in documents}
    tensors |= {f"{document.name}.scored": document.scored for document in documents if document.scored is not None}
    unsorted = save(tensors, metadata=metadata)
    end = 8 + struct.unpack("<Q", unsorted[:8])[0]
    header = json.dumps(json.loads(unsorted[8:end]), sort_keys=True, separators=(",", ":")).encode("ascii")
    header += b" " * (-len(header) % 8)  # data begin at a multiple of 8
    return struct.pack("<Q", len(header)) + header + unsorted[end:]


def write_documents(documents: list[Document], path: Path, tokenizer_digest: str, source: str) -> None:
    """Whole or not at all: written beside, then renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(file_bytes(documents, tokenizer_digest, source))
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
