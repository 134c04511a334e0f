"""The table of rooms, tools/rooms.toml: read, checked in itself, and written into CONTRIBUTING.md."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

TABLE = "tools/rooms.toml"
BEGIN = "<!-- Written by tools/lint.py --write-table from tools/rooms.toml. -->"
END = "<!-- End of the table of rooms. -->"


class LintError(Exception):
    """The table itself, or what the checks need beside it, is not usable."""


@dataclass(frozen=True)
class Room:
    folder: str
    knows: str
    targets: list[str]
    may_include: list[str]
    libraries: list[str]
    pure: bool = False


@dataclass(frozen=True)
class Rooms:
    rooms: dict[str, Room]  # by folder, lowest first
    libraries: dict[str, re.Pattern[str]]
    libraries_of_all: dict[str, re.Pattern[str]]
    suites: dict[str, str]  # test file → reason
    called_by_tests_only: dict[str, str]  # function → reason

    @property
    def top_folders(self) -> list[str]:
        """Folders of the project's C++ files, the tests included."""
        return sorted({folder.split("/")[0] for folder in self.rooms} | {"tests"})

    def library_of(self, header: str) -> str | None:
        return next((name for name, pattern in self.libraries.items() if pattern.search(header)), None)

    def homes_of(self, library: str) -> list[str]:
        return [room.folder for room in self.rooms.values() if library in room.libraries]


def read_rooms(root: Path) -> Rooms:
    """Reads the table of the tree `root`. Raises LintError where it breaks its own rules."""
    table = tomllib.loads((root / TABLE).read_text(encoding="utf-8"))
    patterns = {key: {name: re.compile(text) for name, text in table.get(key, {}).items()}
                for key in ("libraries", "libraries_of_all")}
    rooms: dict[str, Room] = {}
    for row in table["room"]:
        room = Room(**row)
        if room.folder in rooms:
            raise LintError(f"{TABLE}: a room stands in the table once: {room.folder}")
        for below in room.may_include:
            if below not in rooms:
                raise LintError(f"{TABLE}: {room.folder} may list only rooms above it in the table: {below}")
        for library in room.libraries:
            if library not in patterns["libraries"]:
                raise LintError(f"{TABLE}: a library of a room is listed under [libraries]: {library} ({room.folder})")
        rooms[room.folder] = room
    return Rooms(rooms, patterns["libraries"], patterns["libraries_of_all"], table.get("suites", {}),
                 table.get("called_by_tests_only", {}))


def markdown_table(table: Rooms) -> str:
    """What stands in CONTRIBUTING.md between BEGIN and END."""
    rows = ["| room | knows | CMake targets | may include | home of |", "|---|---|---|---|---|"]
    for room in table.rooms.values():
        targets = ", ".join(f"`{target}`" for target in room.targets)
        rows.append(f"| `{room.folder}/` | {room.knows} | {targets} | {shortened(room, table)} "
                    f"| {', '.join(room.libraries)} |")
    return "\n".join([BEGIN, "", *rows, "", END])


def shortened(room: Room, table: Rooms) -> str:
    """The rooms that `room` may include; rooms of one folder in one word: `coordinator/{core, store}`."""
    common = [folder for folder in table.rooms if folder == "common" or folder.startswith("common/")]
    listed = list(room.may_include)
    words = []
    if len(common) > 1 and all(folder in listed for folder in common):
        words.append("all of `common/`")
        listed = [folder for folder in listed if folder not in common]
    inside: dict[str, list[str]] = {}
    for folder in listed:
        parent, _, name = folder.rpartition("/")
        inside.setdefault(parent, []).append(name)
    words += [f"`{name}`" for name in inside.pop("", [])]
    words += [f"`{parent}/{{{', '.join(names)}}}`" if len(names) > 1 else f"`{parent}/{names[0]}`"
              for parent, names in inside.items()]
    return ", ".join(words) or "nothing"


def replace_table(text: str, table: Rooms) -> str:
    """`text` of CONTRIBUTING.md with the table of today."""
    begin, end = text.find(BEGIN), text.find(END)
    if begin < 0 or end < begin:
        raise LintError(f"CONTRIBUTING.md: the table of rooms stands between two lines: {BEGIN} and {END}")
    return text[:begin] + markdown_table(table) + text[end + len(END):]
