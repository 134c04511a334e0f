"""Factors go out in every form and come back the same; canonical files fit their JSON Schema."""

import json

import jsonschema
import pytest
import yaml

from longrope_processes import MODEL, ROOT, longrope

ORIGINAL, MIDDLE, TARGET, PAIRS, LAYERS = 512, 1024, 4096, 32, 6
ATTENTION_FACTOR = 1.125
SCHEMA = json.loads((ROOT / "schemas" / "factors.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def read_valid(path):
    """A canonical file, held against the schema."""
    file = json.loads(path.read_text())
    VALIDATOR.validate(file)
    return file


def table(folder, name, length, attention_factor=ATTENTION_FACTOR, slope=0.0):
    """A canonical file of one table, by way of the authors' CSV; λ rises with the pair by `slope`."""
    csv = folder / f"{name}.csv"
    csv.write_text("".join(f"{1 + slope * pair!r}\n" for pair in range(PAIRS)))
    longrope("import", csv, "--model", MODEL, "--length", length, "--attention-factor", attention_factor, "--out",
             folder / f"{name}.json")
    return folder / f"{name}.json"


@pytest.fixture
def both(tmp_path):
    """A schedule of two tables, as short-context recovery gives it."""
    short = table(tmp_path, "short", ORIGINAL, slope=1 / 128)
    longrope("export", "--factors", table(tmp_path, "long", TARGET, slope=0.1), "--short-factors", short, "--model",
             MODEL, "--format", "json", "--out", tmp_path / "both.json")
    return tmp_path / "both.json"


def export(factors, kind, out, *arguments, check=True):
    return longrope("export", "--factors", factors, "--model", MODEL, "--format", kind, "--out", out, *arguments,
                    check=check)


def test_everything_that_is_written_fits_the_schema(both, tmp_path):
    VALIDATOR.check_schema(SCHEMA)
    assert "schedule" not in read_valid(tmp_path / "long.json")
    file = read_valid(both)
    assert [entry["id"] for entry in file["factors"]] == ["short", "long"]
    assert file["schedule"] == [{"max_len": ORIGINAL, "factors_id": "short"}, {"max_len": TARGET, "factors_id": "long"}]
    export(both, "hf", tmp_path / "exported")
    beside = read_valid(tmp_path / "exported" / "longrope_factors.json")
    assert [step["max_len"] for step in beside["schedule"]] == [ORIGINAL, TARGET]
    assert [entry["lambda"] for entry in beside["factors"]] == [entry["lambda"] for entry in file["factors"]]


@pytest.mark.parametrize("change", [
    lambda file: file["schedule"][0].pop("factors_id"),
    lambda file: file["schedule"][0].update(max_len=0),
    lambda file: file["schedule"][0].update(min_len=1),
    lambda file: file.update(schedule={}),
    lambda file: file["factors"][0].update(n_hat=-1),
])
def test_schema_and_reader_refuse_the_same(both, tmp_path, change):
    file = json.loads(both.read_text())
    change(file)
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(file)
    both.write_text(json.dumps(file))
    done = export(both, "hf", tmp_path / "exported", check=False)
    assert done.returncode == 2 and "both.json" in done.stderr
    assert not (tmp_path / "exported").exists()


def test_a_longer_schedule_is_exported_with_a_warning_that_names_what_is_used(both, tmp_path):
    file = json.loads(both.read_text())
    file["factors"].append({**file["factors"][1], "id": "middle", "target_len": MIDDLE})
    file["schedule"].insert(1, {"max_len": MIDDLE, "factors_id": "middle"})
    both.write_text(json.dumps(file))
    for kind in ("hf", "vllm", "axolotl"):
        done = export(both, kind, tmp_path / kind)
        assert f'"short" is exported for up to {ORIGINAL} tokens' in done.stderr
        assert f'"long" for longer ones, up to {TARGET}' in done.stderr
    assert export(both, "json", tmp_path / "again.json").stderr == ""
    assert read_valid(tmp_path / "again.json") == file


def test_tables_with_an_attention_factor_each_are_for_vllm_only(tmp_path):
    short = table(tmp_path, "short", ORIGINAL, attention_factor="none")
    long = table(tmp_path, "long", TARGET, slope=0.1)
    for kind in ("hf", "axolotl"):
        done = export(long, kind, tmp_path / "out", "--short-factors", short, check=False)
        assert done.returncode == 2 and "export for vLLM" in done.stderr, done.stderr
        assert not (tmp_path / "out").exists()
    export(long, "vllm", tmp_path / "vllm.yaml", "--short-factors", short)
    rope = json.loads(yaml.safe_load((tmp_path / "vllm.yaml").read_text())["hf-overrides"])["rope_parameters"]
    assert (rope["short_mscale"], rope["long_mscale"]) == (1.0, ATTENTION_FACTOR)
    assert rope["original_max_position_embeddings"] == ORIGINAL


@pytest.mark.parametrize("layers, rows", [((), None), (("--layers", 7), 7), (("--layers", "model"), LAYERS)])
def test_csv_of_both_shapes_reads_back(tmp_path, layers, rows):
    long = table(tmp_path, "long", TARGET, slope=0.1)
    export(long, "csv", tmp_path / "out.csv", *layers)
    lines = [[float(field) for field in line.split(",")] for line in (tmp_path / "out.csv").read_text().splitlines()]
    factors = read_valid(long)["factors"][0]["lambda"]
    assert lines == ([[value] for value in factors] if rows is None else [factors] * rows)
    longrope("import", tmp_path / "out.csv", "--model", MODEL, "--length", TARGET, "--attention-factor",
             ATTENTION_FACTOR, "--out", tmp_path / "back.json")
    assert read_valid(tmp_path / "back.json")["factors"][0]["lambda"] == factors


@pytest.mark.parametrize("kind", ["json", "hf", "vllm", "axolotl"])
def test_every_export_of_a_schedule_is_imported_as_it_was(both, tmp_path, kind):
    export(both, kind, tmp_path / "exported")
    exported = tmp_path / "exported" / "config.json" if kind == "hf" else tmp_path / "exported"
    if kind == "axolotl":  # as people write it: in block style, among other keys
        config = {"base_model": "byte-llama", "adapter": None, **yaml.safe_load(exported.read_text())}
        exported.write_text(yaml.safe_dump(config))
    longrope("import", exported, "--model", MODEL, "--length", TARGET, "--out", tmp_path / "back.json")
    files = read_valid(both), read_valid(tmp_path / "back.json")
    if kind == "json":  # an import takes the one table for its length
        assert files[1]["factors"][0]["lambda"] == files[0]["factors"][1]["lambda"]
        return
    tables = [[(entry["target_len"], entry["lambda"], entry["mscale"]["value"]) for entry in file["factors"]]
              for file in files]
    assert tables[0] == tables[1]
    assert [[step["max_len"] for step in file["schedule"]] for file in files] == [[ORIGINAL, TARGET]] * 2


def test_csv_of_a_schedule_says_which_table_it_holds(both, tmp_path):
    assert f"the one for {TARGET} tokens is written" in export(both, "csv", tmp_path / "out.csv").stderr
    assert len((tmp_path / "out.csv").read_text().splitlines()) == PAIRS


@pytest.mark.parametrize("arguments, rule", [
    (["--format", "csv", "--layers", "0"], "rows must number from 1"),
    (["--format", "csv", "--layers", "all"], "--layers must be a number, or model: all"),
    (["--format", "vllm", "--layers", "4"], "--layers belongs to --format csv: vllm"),
    (["--format", "vllm", "--db", "search.db"], "--db or from --factors, one of them"),
    (["--format", "vllm", "--short-factors", "both.json"], "joined to one other table: 2 and 1"),
    (["--format", "vllm", "--short-factors", "long.json"], "max_len of schedule must ascend: 4096 after 4096"),
])
def test_what_does_not_fit_is_refused_and_leaves_nothing(both, tmp_path, arguments, rule):
    arguments = [tmp_path / argument if argument.endswith(".json") else argument for argument in arguments]
    done = longrope("export", "--factors", tmp_path / "long.json", "--model", MODEL, "--out", tmp_path / "out",
                    *arguments, check=False)
    assert done.returncode == 2 and rule in done.stderr, done.stderr
    assert not (tmp_path / "out").exists()


def test_factors_of_other_angles_are_refused_and_of_other_weights_warned_of(tmp_path):
    long = table(tmp_path, "long", TARGET, slope=0.1)
    file = json.loads(long.read_text())
    file["model"]["sha256"] = "a" * 64
    long.write_text(json.dumps(file))
    assert "another checkpoint, byte-llama (digest aaaaaaaaaaaa)" in export(long, "vllm", tmp_path / "out").stderr
    file["model"]["rope_theta"] = 5e5
    long.write_text(json.dumps(file))
    done = export(long, "vllm", tmp_path / "out", check=False)
    assert done.returncode == 2 and "rope_theta 10000, those of byte-llama: 64 and 500000" in done.stderr
