"""Functions that only tests call.

The programs are linked with --gc-sections, so the linker drops every function that nothing in them reaches. A function
of a static library that is in neither program is dropped, or is inlined wherever it is called: so only those are named
whose name is called nowhere outside tests.
"""

import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from lint_rules.rooms import TABLE, LintError, Rooms
from lint_rules.text import SourceFile, Tree, closing

NAMESPACE = "longrope::"
# A declaration or definition of the function %s: at the beginning of a line, after a type. `return f(…)` is none.
TYPE = r"(?:::)?\w+(?:::\w+)*(?:<[^;{}()=]*>)?(?:::\w+)*[&*]*"
NO_TYPE = r"(?!(?:return|throw|co_return|co_yield|co_await|else|case|new|delete|and|or|not|goto)\b)"
DECLARATION = (r"^[ \t]*(?:\[\[\w+\]\][ \t]*)*"
               rf"(?:{NO_TYPE}{TYPE}[ \t\n]+)+[&*]*(?:\w+(?:<[^;{{}}()=]*>)?::)*%s\s*\(")


def defined_functions(nm: str) -> set[str]:
    """Functions of the project in the output of `nm -C`: name and parameters of each symbol of type T.

    Inline functions and instantiations of templates have type W, functions of one source type t: the compiler warns
    about those of the latter that are not used.
    """
    found = set()
    for line in nm.splitlines():
        match = re.match(r"^[0-9a-fA-F]+ T (.+)$", line)
        if match and match[1].startswith(NAMESPACE):
            found.add(match[1])
    return found


def base_name(function: str) -> str | None:
    """`digest` for `longrope::Store::digest[abi:cxx11](int) const`; None for operators and destructors, which are
    called without their names."""
    depth = 0
    name = ""
    for position, letter in enumerate(function):
        if depth == 0 and function.startswith("(anonymous namespace)", position):
            depth = 1
            continue
        if letter == "(" and depth == 0:
            break
        depth += (letter in "<(") - (letter in ">)")
        if depth == 0 and letter not in ">)":
            name += letter
    name = re.sub(r"\[abi:\w+\]", "", name).split("::")[-1].strip()
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) and "operator" not in name.split() else None


def own_parts(code: str, name: str) -> list[tuple[int, int]]:
    """Where the function is declared or defined, its body included: a call from there says nothing about its use."""
    parts = []
    for match in re.finditer(DECLARATION % re.escape(name), code, re.MULTILINE):
        end = closing(code, match.end() - 1) + 1
        body = re.compile(r"[^;{}]*\{").match(code, end)
        parts.append((match.start(), closing(code, body.end() - 1) + 1 if body else end))
    return parts


def is_called(name: str, files: Iterable[SourceFile], not_from: dict[str, list[tuple[int, int]]]) -> bool:
    """Whether a source names the function outside its own declarations and outside the parts `not_from`, by path."""
    word = re.compile(rf"\b{re.escape(name)}\b")
    for file in files:
        if name not in file.code:
            continue
        ignored = own_parts(file.code, name) + not_from.get(str(file.path), [])
        if any(not any(begin <= match.start() < end for begin, end in ignored) for match in word.finditer(file.code)):
            return True
    return False


def called_by_tests_only(libraries: str, programs: str, files: list[SourceFile]) -> list[str]:
    """Functions in `libraries` and not in `programs`, both outputs of `nm -C`, that no source of `files` calls.

    A function that only such functions call is one of them.
    """
    dropped: dict[str, list[str]] = {}
    for function in sorted(defined_functions(libraries) - defined_functions(programs)):
        name = base_name(function)
        if name is not None:
            dropped.setdefault(name, []).append(function)
    named: set[str] = set()
    not_from: dict[str, list[tuple[int, int]]] = {}
    while True:
        found = {name for name in set(dropped) - named if not is_called(name, files, not_from)}
        if not found:
            return sorted(function for name in named for function in dropped[name])
        named |= found
        for file in files:
            for name in found:
                if name in file.code:
                    not_from.setdefault(str(file.path), []).extend(own_parts(file.code, name))


def findings(functions: list[str], table: Rooms, tree: Tree) -> Iterator[str]:
    """A line for each function, with the place of its definition, but for those that the table lets be. A build folder
    may hold a library of an earlier tree: what is not defined in this one is left out."""
    names = {function: base_name(function) or "" for function in functions}
    for function, name in names.items():
        place = place_of(name, tree)
        if place and name not in table.called_by_tests_only:
            yield (f"{place}: only tests call {function}: delete it, or give the reason under [called_by_tests_only] "
                   f"in {TABLE}")
    for name in sorted(set(table.called_by_tests_only) - set(names.values())):
        yield f"{TABLE}: a program calls this function, or it is gone; its row goes too: {name}"


def place_of(name: str, tree: Tree) -> str | None:
    places = [file.at(file.line_at(begin)) for file in program_sources(tree) if name in file.code
              for begin, _ in own_parts(file.code, name)]
    return min(places, key=lambda place: ".h:" in place, default=None)


def program_sources(tree: Tree) -> list[SourceFile]:
    return [file for file in tree.files if not file.of_tests]


def nm(paths: list[Path]) -> str:
    return subprocess.run(["nm", "-C", "--defined-only", *paths], check=True, capture_output=True, text=True).stdout


def check_functions(root: Path, table: Rooms, build: Path, programs: list[Path]) -> list[str]:
    """Compares the static libraries in the build folder `build` with `programs`, which are linked from them."""
    libraries = sorted(build.rglob("liblongrope_*.a"))
    missing = [str(path) for path in programs if not path.is_file()]
    if missing or not libraries:
        raise LintError(f"the programs are not built: {', '.join(missing) or f'no libraries in {build}'} (make build)")
    in_programs = nm(programs)
    if not defined_functions(in_programs):
        raise LintError(f"the programs are stripped of their symbols: {', '.join(map(str, programs))}")
    tree = Tree(root, table)
    functions = called_by_tests_only(nm(libraries), in_programs, program_sources(tree))
    return list(findings(functions, table, tree))
