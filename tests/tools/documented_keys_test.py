"""Every configuration key that the documents name exists.

Which keys there are, schemas/config_reference.md says; the program is asked whether it knows each of them.
"""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("LONGROPE_SOURCE_DIR", Path(__file__).resolve().parents[2]))
LONGROPE = Path(os.environ.get("LONGROPE_BINARY_DIR", ROOT / "build" / "bin")) / "longrope"
REFERENCE = ROOT / "schemas" / "config_reference.md"
GUIDES = sorted((ROOT / "docs").glob("*.md"))
SOURCES = [path for folder in ROOT.iterdir() if folder.is_dir() and not folder.name.startswith(".")
           and folder.name not in {"build", "config", "tests"} for path in folder.rglob("*")]
WORD = r"[a-z][a-z0-9_]*"
# Names of other projects that the documents mention and nothing here reads or writes.
FOREIGN = {"scaled_dot_product_attention"}


def reference_tables():
    """`[stage.search]` → its keys: the first column of each table of the reference, by the head of that column."""
    tables, head = {}, None
    for line in REFERENCE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            head = None
        elif head is None:
            head = re.search(r"`([^`]+)`", line.split("|")[1])[1]
        else:
            tables.setdefault(head, []).extend(re.findall(rf"`({WORD})`", line.split("|")[1]))
    return tables


TABLES = reference_tables()
KEYS = {key for keys in TABLES.values() for key in keys}
# The tables of a file as TOML nests them; a stage has the keys of its kind.
OF_STAGE = {key for head, keys in TABLES.items() if head == "[[stage]]" or head.startswith("kind = ") for key in keys}
NESTED = {"run": set(TABLES["[run]"]), "model": set(TABLES["[model]"]), "worker": set(TABLES["[worker]"]),
          "scheduling": set(TABLES["[scheduling]"]), "stage": OF_STAGE, "stage.search": set(TABLES["[stage.search]"]),
          "stage.stop": set(TABLES["[stage.stop]"])}


def unknown_keys(table, path=""):
    """Keys of a parsed TOML file, or of a part of one, that the reference does not have, with their tables."""
    known = NESTED.get(path, KEYS)
    for key, value in table.items():
        inside = f"{path}.{key}" if path else key
        if inside in NESTED:
            for one in value if isinstance(value, list) else [value]:
                yield from unknown_keys(one, inside)
        elif key not in known:
            yield inside


def undocumented(text):
    """What a Markdown text names as a configuration key and is none."""
    for block in re.findall(r"^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield from unknown_keys(tomllib.loads(block))
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for code in re.findall(r"`([^`\n]+)`", prose):
        named = re.fullmatch(rf"\[+({WORD}(?:\.{WORD})*)\]+(?: ({WORD}))?", code)
        assigned = re.fullmatch(rf"({WORD}) = \S.*", code)
        if named and (named[1] not in NESTED or (named[2] and named[2] not in NESTED[named[1]])):
            yield code
        elif assigned and assigned[1] not in KEYS:
            yield code
    # Tables of keys have them in their first column.
    for table in re.findall(r"^\| key \|.*\n(?:\|.*\n)+", prose, re.MULTILINE):
        for row in table.splitlines()[2:]:
            yield from (key for key in re.findall(rf"`({WORD})`", row.split("|")[1]) if key not in KEYS)


def unknown_identifiers(text, others):
    """Words like `snake_case` in a Markdown text that are neither keys nor among `others`."""
    blocks = "\n".join(re.findall(r"^```.*?^```", text, re.DOTALL | re.MULTILINE))
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for word in re.findall(r"`([a-z][a-z0-9]*(?:_[a-z0-9]+)+)`", prose):
        if word not in KEYS | others | FOREIGN and not re.search(rf"\b{word}\b", blocks):
            yield word


@pytest.fixture(scope="module")
def other_identifiers():
    """Names that are no configuration keys: of files read and written, of columns and views, sources and targets."""
    words = set()
    for path in SOURCES:
        if path.suffix in {".cpp", ".h", ".cu", ".py", ".js"}:
            words.add(path.stem)
            words.update(re.findall(rf"[\"']({WORD})[\"']", path.read_text(encoding="utf-8")))
        elif path.suffix in {".sql", ".json"}:
            words.update(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    for path in [*(path for path in SOURCES if path.name == "CMakeLists.txt"), ROOT / "tests" / "CMakeLists.txt"]:
        words.update(re.findall(r"^\s*(?:add_\w+|longrope_\w*test)\((\w+)", path.read_text(encoding="utf-8"),
                                re.MULTILINE))
    return words


@pytest.mark.parametrize("path", [ROOT / "README.md", REFERENCE, *GUIDES], ids=lambda path: path.name)
def test_keys_that_a_document_names_exist(path):
    assert list(undocumented(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)
def test_identifiers_that_a_document_names_exist(path, other_identifiers):
    assert list(unknown_identifiers(path.read_text(encoding="utf-8"), other_identifiers)) == []


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.toml")), ids=lambda path: path.name)
def test_keys_of_the_examples_are_in_the_reference(path):
    in_a_sentence = {"stage.seed_stages"}  # of the reference, not in a table
    assert set(unknown_keys(tomllib.loads(path.read_text(encoding="utf-8")))) - in_a_sentence == set()


@pytest.mark.parametrize("text, wrong", [
    ("`upper_bound = 2`, `[stage.search] method`, `[stage.stop]`, `[[stage]]`", []),
    ("`uper_bound = 2`", ["uper_bound = 2"]),
    ("`[stage.search] patience`", ["[stage.search] patience"]),
    ("`[stage.sea]`", ["[stage.sea]"]),
    ("```toml\n[stage.search]\nmetod = 1\n```\n", ["stage.search.metod"]),
    ("```toml\n[[stage]]\nname = 'a'\n[stage.stop]\npatience = 1\n```\n", []),
    ("| key | default | meaning |\n|---|---|---|\n| `lag`, `n_hat_choices` | 0 | n̂ |\n", ["n_hat_choices"]),
])
def test_wrong_keys_are_found(text, wrong):
    assert list(undocumented(text)) == wrong


def test_identifier_that_nothing_knows_is_found(other_identifiers):
    text = "1 + s with `upper_bound_one_plus_ratio`, and `n_hat`, `rope_theta`, `v_history`"
    assert list(unknown_identifiers(text, other_identifiers)) == ["upper_bound_one_plus_ratio"]


def configuration(head, key):
    """A file in which the key has a value of a wrong type: a table. What is unknown is refused before values are."""
    given = {"[run]": {"name": '"n"'}, "[model]": {"path": '"m"'}, "[worker]": {}, "[scheduling]": {},
             "[[stage]]": {"name": '"s"', "target_length": "8192", "search_documents": '"s"',
                           "heldout_documents": '"h"'},
             "[stage.search]": {}, "[stage.stop]": {}}
    kind = re.fullmatch(r'kind = "(\w+)"', head)
    if kind:
        head = "[[stage]]"
        given[head] = {"name": '"s"', "kind": f'"{kind[1]}"'}
        del given["[stage.search]"], given["[stage.stop]"]
    given[head][key] = "{}"
    return "".join(f"{table}\n" + "".join(f"{name} = {value}\n" for name, value in keys.items())
                   for table, keys in given.items())


def answer(folder, text):
    file = folder / "keys.toml"
    file.write_text(text, encoding="utf-8")
    done = subprocess.run([LONGROPE, "run", file, "--db", folder / "keys.db", "--dry-run"], capture_output=True,
                          text=True, check=False, timeout=60)
    assert done.returncode == 2, done.stdout + done.stderr
    return done.stderr


@pytest.mark.skipif(not LONGROPE.exists(), reason="NOT RUN: the program is not built")
@pytest.mark.parametrize("head", sorted(TABLES))
def test_program_knows_the_keys_of_the_reference(head, tmp_path):
    for key in TABLES[head]:
        assert "unknown key" not in answer(tmp_path, configuration(head, key)), key
    assert "unknown key" in answer(tmp_path, configuration(head, "no_such_key"))
