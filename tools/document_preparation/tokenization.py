"""Text to token ids with their places in the text, and back: Hugging Face tokenizers, or bytes."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from document_preparation.input_error import InputError
from document_preparation.texts import decode_utf8


@dataclass(frozen=True)
class Encoded:
    ids: list[int]
    spans: list[tuple[int, int]]  # [first, last) character of each token; a part of a character has all of it


class HuggingFaceTokens:
    """The tokenizer of a model directory. Special tokens spelled out in a text are ordinary text."""

    def __init__(self, directory: Path):
        self._tokenizer, self.digest = load_tokenizer(directory)
        # None where the settings do not name the token, whether or not texts begin with it.
        self.bos = find_special_token(directory, self._tokenizer, "bos_token")
        self.eos = find_special_token(directory, self._tokenizer, "eos_token")
        # Whether the settings say that texts begin without BOS; why not, or why all the same, is in words.
        self.bos_ruled_out = False
        self.bos_reason = ""
        if read_json_object(directory / "tokenizer_config.json").get("add_bos_token") is False:
            put = self._tokenizer.encode("").ids[:1]
            if self.bos is not None and put == [self.bos]:
                self.bos_reason = ("tokenizer_config.json says add_bos_token: false, but tokenizer.json puts it before "
                                   "every text, and transformers 5 follows that; --no-bos leaves it out")
            else:
                self.bos_ruled_out = True
                self.bos_reason = "tokenizer_config.json says add_bos_token: false (--bos ID puts it all the same)"

    def encode(self, text: str) -> Encoded:
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return Encoded(encoding.ids, encoding.offsets)

    def decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=False)


class ByteTokens:
    """Byte-level models: a token is the value of a byte of UTF-8."""

    digest = "byte-level"
    bos: int | None = 256
    eos: int | None = 257
    bos_ruled_out = False
    bos_reason = ""

    def encode(self, text: str) -> Encoded:
        sizes = [len(character.encode("utf-8")) for character in text]
        spans = [(index, index + 1) for index, size in enumerate(sizes) for _ in range(size)]
        return Encoded(list(text.encode("utf-8")), spans)

    def decode(self, ids: list[int]) -> str:
        return bytes(ids).decode("utf-8", "replace")


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


def find_special_token(directory: Path, tokenizer: Tokenizer, key: str) -> int | None:
    """The token that the settings name under `key`, if they name one."""
    settings = read_json_object(directory / "tokenizer_config.json")
    token = settings.get(key, read_json_object(directory / "config.json").get(f"{key}_id"))
    if isinstance(token, dict):  # {"content": "<s>", …}
        token = token.get("content")
    token_id = tokenizer.token_to_id(token) if isinstance(token, str) else token
    known = isinstance(token_id, int) and not isinstance(token_id, bool) and 0 <= token_id < 2**31
    return token_id if known else None
