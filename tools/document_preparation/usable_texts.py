"""The texts that documents are made of: those that hold something and that no earlier one repeats."""

from collections.abc import Iterator
from pathlib import Path

from document_preparation.documents_file import require_name
from document_preparation.input_error import InputError
from document_preparation.texts import Text, read_texts


def listed(places: list[str], most: int = 5) -> str:
    return ", ".join(places[:most]) + (f" and {len(places) - most} more" if len(places) > most else "")


class UsableTexts:
    """Reads the files anew each time it is iterated. What is left out is said once, after all was read the first time;
    where `strict` is true it is refused instead."""

    def __init__(self, paths: list[Path], key: str, strict: bool):
        self._paths = paths
        self._key = key
        self._strict = strict
        self._said = False

    def __iter__(self) -> Iterator[Text]:
        names: set[str] = set()
        places: dict[str, str] = {}  # where the first text with a digest stands
        left_out: dict[str, list[str]] = {"empty": [], "null": [], "repeated": []}
        for path in self._paths:
            for text in read_texts(path, self._key):
                require_name(text.name, names, text.place)
                if text.text is None:
                    self._refuse_if_strict(f'"{self._key}" must be a string: null ({text.place})')
                    left_out["null"].append(text.place)
                elif not text.text.strip():
                    self._refuse_if_strict(f"a text must not be empty: {text.name} ({text.place})")
                    left_out["empty"].append(text.place)
                elif (first := places.setdefault(text.digest, text.place)) != text.place:
                    self._refuse_if_strict(f"texts must differ: {text.name} repeats {first} ({text.place})")
                    left_out["repeated"].append(f"{text.place} repeats {first}")
                else:
                    yield text
        count = sum(map(len, left_out.values()))
        if count and not self._said:
            kinds = [f"{len(found)} {kind} ({listed(found)})" for kind, found in left_out.items() if found]
            print(f"{count} texts left out: {'; '.join(kinds)}")
        self._said = True

    def _refuse_if_strict(self, message: str) -> None:
        if self._strict:
            raise InputError(f"{message}; --strict refuses it")
