"""Rules about the text of the sources, which need no compiler and no configured build."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from lint_rules.rooms import TABLE, LintError, Room, Rooms, replace_table

SUFFIXES = (".h", ".cpp", ".cu")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+([<"])([^">]+)[">]', re.MULTILINE)
# What is no third-party library: <vector> and <cstdint>; <unistd.h> and <sys/stat.h>.
STANDARD = re.compile(r"^[a-z0-9_]+$")
OPERATING_SYSTEM = re.compile(r"^((sys|linux|netinet|arpa|net)/)?[a-z0-9_]+\.h$")
TEST_LIBRARY = re.compile(r"^(gtest|gmock)/")
# What no pure room may touch.
IMPURE = {"cstdio", "filesystem", "fstream", "iostream", "thread", "mutex", "condition_variable", "future", "random"}
READS_A_CLOCK = re.compile(r"\bread_clocks\s*\(|_clock::now\s*\(")
# A name that says what something is not: that it had no home.
BANNED = {"common_utils", "helper", "helpers", "misc", "miscellaneous", "stuff", "util", "utilities", "utility",
          "utils"}
DECLARED = re.compile(r"\b(?:namespace|class|struct|enum(?:\s+class)?|union)\s+(\w+)")
OF_COMMENT = re.compile(r"//+!?<?\s*Of\s")
TARGET = re.compile(r'\b(add_library|add_executable|target_sources|longrope_test|longrope_fuzz_target)\s*'
                    r'\(((?:"[^"]*"|[^()"])*)\)')
SOURCE = re.compile(r'[\w./${}-]+\.(?:cpp|cu)\b')


@dataclass(frozen=True)
class Include:
    line: int
    name: str
    own: bool  # written "…", not <…>


@dataclass
class SourceFile:
    """A C++ file; `path` is relative to the project's folder."""

    path: PurePosixPath
    text: str

    @property
    def folder(self) -> str:
        return str(self.path.parent)

    @property
    def of_tests(self) -> bool:
        return self.path.parts[0] == "tests"

    @cached_property
    def includes(self) -> list[Include]:
        return [Include(self.line_at(match.start(1)), match[2], match[1] == '"')
                for match in INCLUDE.finditer(self.text)]

    @cached_property
    def code(self) -> str:
        """The text with comments and the content of strings as blanks, so that positions and lines stay."""
        return blank_comments_and_strings(self.text)

    def line_at(self, position: int) -> int:
        return self.text.count("\n", 0, position) + 1

    def at(self, line: int) -> str:
        return f"{self.path}:{line}"


COMMENT_OR_STRING = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<mark>[^\s()\\]{0,16})\(.*?\)(?P=mark)"|"(?:\\.|[^"\\\n])*"'
    r"|(?<![\w])'(?:\\.|[^'\\\n])+'",
    re.DOTALL)


def blank_comments_and_strings(text: str) -> str:
    return COMMENT_OR_STRING.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


@dataclass
class Tree:
    """The C++ files of the project in `root`, and what its CMakeLists.txt build them into."""

    root: Path
    table: Rooms
    files: list[SourceFile] = field(default_factory=list)

    def __post_init__(self) -> None:
        for top in self.table.top_folders:
            for path in sorted((self.root / top).rglob("*")):
                if path.suffix in SUFFIXES and path.is_file():
                    self.files.append(SourceFile(PurePosixPath(path.relative_to(self.root)),
                                                 path.read_text(encoding="utf-8")))

    @cached_property
    def targets(self) -> dict[str, list[str]]:
        """Sources → the targets that list them."""
        listed: dict[str, list[str]] = {}
        for target, sources in self.sources_of_targets.items():
            for source in sources:
                listed.setdefault(source, []).append(target)
        return listed

    @cached_property
    def sources_of_targets(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for top in self.table.top_folders:
            for cmake in sorted((self.root / top).rglob("CMakeLists.txt")):
                for target, sources in targets_in(cmake.read_text(encoding="utf-8")).items():
                    places = [(cmake.parent / source).resolve() for source in sources]
                    found.setdefault(target, []).extend(
                        str(PurePosixPath(place.relative_to(self.root.resolve()))) for place in places
                        if place.is_relative_to(self.root.resolve()))
        return found


def targets_in(cmake: str) -> dict[str, list[str]]:
    """Targets of a CMakeLists.txt and their sources, as written there."""
    found: dict[str, list[str]] = {}
    for command, arguments in TARGET.findall(re.sub(r"#[^\n]*", "", cmake)):
        target, *words = arguments.split()
        if command == "longrope_fuzz_target":  # cmake/LongropeFuzz.cmake
            found.setdefault(target + "_fuzz", []).extend([target + "_fuzz.cpp", "fuzz_target.cpp"])
        elif command != "add_library" or "INTERFACE" not in words:
            found.setdefault(target, []).extend(word for word in words if SOURCE.fullmatch(word))
    return found


def check_text(root: Path, table: Rooms) -> list[str]:
    """Everything that breaks a rule, as lines "place: what is wrong"."""
    tree = Tree(root, table)
    checks = (layout, included_rooms, included_libraries, pure_rooms, targets, headers_in_use, banned_names, comments,
              error_messages, mirrored_tests, table_in_contributing)
    return [finding for check in checks for finding in check(tree)]


def layout(tree: Tree) -> Iterator[str]:
    """Every file lies in a room; tests lie in the folder of the room they test, or in one of their own."""
    own_folders = {"tests/fuzz", "tests/support"}
    for file in tree.files:
        mirrored = file.folder.removeprefix("tests/")
        if file.of_tests and (file.folder in own_folders or mirrored in tree.table.rooms):
            continue
        if not file.of_tests and file.folder in tree.table.rooms:
            continue
        yield f"{file.path}: every source and header lies in a room: {file.folder}/ has no row in {TABLE}"
    for room in tree.table.rooms.values():
        if not any(file.folder == room.folder for file in tree.files):
            yield f"{TABLE}: a room has sources: {room.folder}/ has none"


def included_rooms(tree: Tree) -> Iterator[str]:
    """The law. Tests may include any room: what they link says which."""
    known = {str(file.path) for file in tree.files}
    for file in tree.files:
        for include in (include for include in file.includes if include.own):
            included = str(PurePosixPath(include.name).parent)
            room = tree.table.rooms.get(file.folder)
            if included not in tree.table.rooms and not (file.of_tests and include.name in known):
                yield (f"{file.at(include.line)}: a header of the project is included by its path from the project's "
                       f"folder: \"{include.name}\" lies in no room")
            elif room and included != room.folder and included not in room.may_include:
                yield (f"{file.at(include.line)}: {room.folder} may not include {included}: \"{include.name}\" "
                       f"({room.folder} may include {', '.join(room.may_include) or 'no other room'}; {TABLE})")
            elif include.name not in known:
                yield f"{file.at(include.line)}: the header does not exist: \"{include.name}\""


def included_libraries(tree: Tree) -> Iterator[str]:
    """A library is included in its home only, and in the tests of its home."""
    for file in tree.files:
        room = tree.table.rooms.get(file.folder.removeprefix("tests/"))
        for include in (include for include in file.includes if not include.own):
            library = tree.table.library_of(include.name)
            if library is not None:
                homes = tree.table.homes_of(library)
                if room is None or room.folder not in homes:
                    yield (f"{file.at(include.line)}: {library} may be included in {', '.join(homes)} only: "
                           f"<{include.name}> in {file.folder}")
            elif not is_free(include.name, file, tree.table):
                yield f"{file.at(include.line)}: {TABLE} names no library with this header: <{include.name}>"


def is_free(header: str, file: SourceFile, table: Rooms) -> bool:
    patterns = [STANDARD, OPERATING_SYSTEM, *table.libraries_of_all.values()]
    if file.of_tests:
        patterns.append(TEST_LIBRARY)
    return any(pattern.search(header) for pattern in patterns)


def pure_rooms(tree: Tree) -> Iterator[str]:
    for file in tree.files:
        room: Room | None = tree.table.rooms.get(file.folder)
        if room is None or not room.pure:
            continue
        for include in (include for include in file.includes if not include.own):
            if include.name in IMPURE or (OPERATING_SYSTEM.match(include.name)
                                          and tree.table.library_of(include.name) is None):
                yield (f"{file.at(include.line)}: {room.folder} is pure, it touches no file, process, thread or "
                       f"clock: <{include.name}>")
        for match in READS_A_CLOCK.finditer(file.code):
            yield (f"{file.at(file.line_at(match.start()))}: {room.folder} is pure, time comes in as an argument: "
                   f"{match[0]}…)")


def targets(tree: Tree) -> Iterator[str]:
    """Each source is built, once, by a target of its room; the table knows all targets."""
    for file in tree.files:
        if file.path.suffix == ".h":
            continue
        listed = tree.targets.get(str(file.path), [])
        if not listed:
            yield f"{file.path}: no target builds this source: list it in CMakeLists.txt or delete it"
        elif not file.of_tests and len(listed) > 1:
            yield f"{file.path}: a source belongs to one target: {', '.join(listed)} list it"
        room = tree.table.rooms.get(file.folder)
        if room:
            for target in listed:
                if target not in room.targets:
                    yield f"{file.path}: target {target} is not one of {file.folder} ({TABLE})"
    of_table = {target for room in tree.table.rooms.values() for target in room.targets}
    built = {target for target, sources in tree.sources_of_targets.items() if sources}
    for target in sorted(of_table - built):
        yield f"{TABLE}: no CMakeLists.txt has a target with sources of this name: {target}"


def headers_in_use(tree: Tree) -> Iterator[str]:
    """A header that only its own source or tests include has no use in a program."""
    users: dict[str, set[str]] = {}
    for file in tree.files:
        for include in file.includes:
            users.setdefault(include.name, set()).add(str(file.path))
    for file in tree.files:
        if file.path.suffix != ".h":
            continue
        own_source = {str(file.path.with_suffix(suffix)) for suffix in (".cpp", ".cu")}
        others = users.get(str(file.path), set()) - own_source
        if not file.of_tests and not any(not user.startswith("tests/") for user in others):
            yield (f"{file.path}: no program uses this header: "
                   f"{'only tests include it' if others else 'nobody but its own source includes it'}")
        elif file.of_tests and not others:
            yield f"{file.path}: nobody includes this header"


def banned_names(tree: Tree) -> Iterator[str]:
    suffixes = {*SUFFIXES, ".cmake", ".py", ".sh", ".sql", ".js"}
    for top in (*tree.table.top_folders, "bench", "cmake", "tools"):
        for path in sorted((tree.root / top).rglob("*")):
            name = path.relative_to(tree.root)
            if (path.is_dir() or path.suffix in suffixes) and is_banned(path.stem):
                yield f"{name}: a name says what a thing does: {path.name}"
    for file in tree.files:
        for match in DECLARED.finditer(file.code):
            if is_banned(match[1]):
                yield f"{file.at(file.line_at(match.start()))}: a name says what a thing does: {match[1]}"


def is_banned(name: str) -> bool:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_")
    return name.lower() in BANNED or any(word in BANNED for word in words)


def comments(tree: Tree) -> Iterator[str]:
    for file in tree.files:
        for number, line in enumerate(file.text.splitlines(), start=1):
            if OF_COMMENT.search(line):
                yield f"{file.at(number)}: a comment names the noun it is about and does not begin with \"Of\""


def error_messages(tree: Tree) -> Iterator[str]:
    """InputError states a rule for what was given; Error says what failed."""
    for file in tree.files:
        for match in re.finditer(r"\bthrow\s+Error\s*\(", file.code):
            text = file.text[match.end():closing(file.code, match.end() - 1)]
            if re.search(r"\bmust\b", text):
                yield (f"{file.at(file.line_at(match.start()))}: an Error says what failed, without \"must\" (a rule "
                       f"about what was given is an InputError)")


def closing(code: str, opening: int) -> int:
    """Position of the bracket that closes the one at `opening`; the end of the text where there is none."""
    pairs = {"(": ")", "{": "}"}
    depth = 0
    for position in range(opening, len(code)):
        if code[position] == code[opening]:
            depth += 1
        elif code[position] == pairs[code[opening]]:
            depth -= 1
            if depth == 0:
                return position
    return len(code)


def mirrored_tests(tree: Tree) -> Iterator[str]:
    known = {str(file.path) for file in tree.files}
    tests = [file for file in tree.files if file.of_tests and file.path.name.endswith("_test.cpp")]
    for file in tests:
        source = str(file.path).removeprefix("tests/").removesuffix("_test.cpp")
        mirrors = any(source + suffix in known for suffix in SUFFIXES)
        if not mirrors and str(file.path) not in tree.table.suites:
            yield (f"{file.path}: a test mirrors a source: there is no {source}.h, .cpp or .cu (a test of several "
                   f"sources stands under [suites] in {TABLE})")
        elif mirrors and str(file.path) in tree.table.suites:
            yield f"{TABLE}: a suite that mirrors a source needs no row: {file.path}"
    for suite in sorted(set(tree.table.suites) - {str(file.path) for file in tests}):
        yield f"{TABLE}: this suite does not exist: {suite}"


def table_in_contributing(tree: Tree) -> Iterator[str]:
    path = tree.root / "CONTRIBUTING.md"
    if not path.exists():
        return
    text = path.read_text(encoding="utf-8")
    try:
        if replace_table(text, tree.table) != text:
            yield f"CONTRIBUTING.md: the table of rooms differs from {TABLE}: run tools/lint.py --write-table"
    except LintError as error:
        yield str(error)


