"""tools/import_gguf.py: what tools/export_gguf.py wrote comes back, and hostile files are refused."""

import json
import os
import pathlib
import subprocess
import sys

import gguf
import jsonschema
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LONGROPE = pathlib.Path(os.environ["LONGROPE_BINARY_DIR"]) / "longrope"
MODEL = ROOT / "models" / "byte-llama"
SCHEMA = json.loads((ROOT / "schemas" / "factors.schema.json").read_text())
ORIGINAL, TARGET, ATTENTION_FACTOR = 512, 2048, 1.1
LONG = [round(1 + 0.07 * pair, 2) for pair in range(32)]
SHORT = [round(1 + 0.01 * pair, 2) for pair in range(32)]


def run(tool, *arguments):
    return subprocess.run([sys.executable, "-B", ROOT / "tools" / tool, *map(str, arguments)], capture_output=True,
                          text=True, check=False)


def write_gguf(path, change=lambda keys, tensors: None):
    """A GGUF file without weights; `change` breaks it."""
    keys = {"context_length": TARGET, "embedding_length": 128, "attention.head_count": 2, "rope.dimension_count": 64,
            "rope.scaling.original_context_length": ORIGINAL, "rope.scaling.attn_factor": ATTENTION_FACTOR,
            "rope.freq_base": 10000.0}
    tensors = {"rope_factors_long.weight": np.float32(LONG), "rope_factors_short.weight": np.float32(SHORT)}
    change(keys, tensors)
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in keys.items():
        if isinstance(value, int):
            writer.add_uint32(f"llama.{key}", value)
        elif isinstance(value, float):
            writer.add_float32(f"llama.{key}", value)
        else:
            writer.add_string(f"llama.{key}", value)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def imported(path, out):
    done = run("import_gguf.py", path, "--out", out)
    assert done.returncode == 0, done.stderr
    file = json.loads(out.read_text())
    jsonschema.Draft202012Validator(SCHEMA).validate(file)
    return file


def test_both_tables_lengths_and_the_attention_factor_come_back(tmp_path):
    file = imported(write_gguf(tmp_path / "my.gguf"), tmp_path / "my.json")
    assert [entry["lambda"] for entry in file["factors"]] == [SHORT, LONG]
    assert [entry["target_len"] for entry in file["factors"]] == [ORIGINAL, TARGET]
    assert [entry["mscale"] for entry in file["factors"]] == [{"policy": "value", "value": ATTENTION_FACTOR}] * 2
    assert file["schedule"] == [{"max_len": ORIGINAL, "factors_id": f"my-{ORIGINAL}"},
                                {"max_len": TARGET, "factors_id": f"my-{TARGET}"}]
    assert file["model"] == {"id": "my", "sha256": "", "head_dim": 64, "rotary_dim": 64, "layout": "half_split",
                             "L0": ORIGINAL, "rope_theta": 10000.0}


def test_an_export_of_a_schedule_survives_gguf_and_vllm(tmp_path):
    factors = imported(write_gguf(tmp_path / "my.gguf"), tmp_path / "my.json")

    def longrope(*arguments):
        subprocess.run([LONGROPE, *map(str, arguments)], check=True, capture_output=True)

    longrope("export", "--factors", tmp_path / "my.json", "--model", MODEL, "--format", "hf", "--out", tmp_path / "hf")
    longrope("export", "--factors", tmp_path / "my.json", "--model", MODEL, "--format", "vllm", "--out",
             tmp_path / "vllm.yaml")
    assert run("export_gguf.py", tmp_path / "hf" / "config.json", "--out", tmp_path / "my.gguf").returncode == 0
    again = imported(tmp_path / "my.gguf", tmp_path / "again.json")
    assert "model" not in again, "a file of factors alone does not say how wide a head is"
    assert again["factors"] == factors["factors"] and again["schedule"] == factors["schedule"]
    for source in (tmp_path / "vllm.yaml", tmp_path / "hf" / "config.json"):
        longrope("import", source, "--model", MODEL, "--length", TARGET, "--out", tmp_path / "back.json")
        back = json.loads((tmp_path / "back.json").read_text())
        assert [entry["lambda"] for entry in back["factors"]] == [SHORT, LONG]
        assert [entry["mscale"]["value"] for entry in back["factors"]] == [ATTENTION_FACTOR] * 2
        assert [step["max_len"] for step in back["schedule"]] == [ORIGINAL, TARGET]


def test_equal_tables_are_one_and_a_missing_attention_factor_is_1(tmp_path):
    def change(keys, tensors):
        tensors["rope_factors_short.weight"] = tensors["rope_factors_long.weight"]
        del keys["rope.scaling.attn_factor"], keys["attention.head_count"]

    file = imported(write_gguf(tmp_path / "my.gguf", change), tmp_path / "my.json")
    assert [entry["lambda"] for entry in file["factors"]] == [LONG] and "schedule" not in file and "model" not in file
    assert file["factors"][0]["mscale"] == {"policy": "none", "value": 1.0}


@pytest.mark.parametrize("change, rule", [
    (lambda keys, tensors: tensors.pop("rope_factors_short.weight"), "one tensor rope_factors_short.weight: 0"),
    (lambda keys, tensors: tensors.update({"rope_factors_long.weight": np.float16(LONG)}), "row of F32: F16"),
    (lambda keys, tensors: tensors.update({"rope_factors_long.weight": np.float32([LONG] * 2)}), "row of F32: F32"),
    (lambda keys, tensors: tensors.update({"rope_factors_long.weight": np.float32(LONG[1:])}), "one length: 31 and 32"),
    (lambda keys, tensors: tensors.update({"rope_factors_long.weight": np.float32([np.nan] * 32)}), "pair 0 of rope"),
    (lambda keys, tensors: tensors.update({"rope_factors_long.weight": np.float32([-1.0] * 32)}), "positive: pair 0"),
    (lambda keys, tensors: keys.pop("context_length"), "llama.context_length must be an integer from 2"),
    (lambda keys, tensors: keys.update({"context_length": "long"}), "llama.context_length must be an integer from 2"),
    (lambda keys, tensors: keys.update({"rope.dimension_count": 48}), "half of the 48 rotated channels of 64: 32"),
    (lambda keys, tensors: keys.update({"rope.freq_base": float("inf")}), "llama.rope.freq_base must be a positive"),
    (lambda keys, tensors: keys.update({"rope.scaling.attn_factor": -1.0}), "attn_factor must be a positive number: -1"),
])
def test_what_does_not_fit_is_refused_and_leaves_nothing(tmp_path, change, rule):
    done = run("import_gguf.py", write_gguf(tmp_path / "my.gguf", change), "--out", tmp_path / "my.json")
    assert done.returncode == 2 and rule in done.stderr, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["my.gguf"]


def test_truncated_files_are_refused(tmp_path):
    whole = write_gguf(tmp_path / "my.gguf").read_bytes()
    for end in (0, 4, 7, 24, 60, len(whole) // 2, len(whole) - 4):
        (tmp_path / "my.gguf").write_bytes(whole[:end])
        done = run("import_gguf.py", tmp_path / "my.gguf", "--out", tmp_path / "my.json")
        assert done.returncode == 2 and "Traceback" not in done.stderr, (end, done.stderr)


def test_the_scaling_of_llama_3_1_is_read(tmp_path):
    def single(keys, tensors):
        tensors.clear()
        tensors["rope_freqs.weight"] = np.float32(LONG)
        for key in ("rope.scaling.original_context_length", "rope.scaling.attn_factor"):
            del keys[key]

    path = write_gguf(tmp_path / "llama-3.1.gguf", single)
    file = imported(path, tmp_path / "out.json")
    assert [entry["lambda"] for entry in file["factors"]] == [LONG] and "schedule" not in file
    assert file["factors"][0]["mscale"] == {"policy": "none", "value": 1.0}
    # The file does not say how long the model was trained.
    assert f"L0 is its context length, {TARGET}" in run("import_gguf.py", path, "--out", tmp_path / "out.json").stderr


@pytest.mark.parametrize("keys", [{"rope.scaling.factor": 4.0}, {"rope.scale_linear": 4.0},
                                  {"rope.scaling.factor": 4.0, "rope.scale_linear": 8.0}])
def test_a_scaling_factor_beside_the_tables_is_multiplied_in(tmp_path, keys):
    file = imported(write_gguf(tmp_path / "in.gguf", lambda found, _: found.update(keys)), tmp_path / "out.json")
    assert [entry["lambda"] for entry in file["factors"]] == [[4 * value for value in SHORT], [4 * value for value in LONG]]


def test_a_second_attention_factor_is_multiplied_in(tmp_path):
    path = write_gguf(tmp_path / "in.gguf", lambda keys, _: keys.update({"rope.scaling.yarn_attn_factor": 2.0}))
    assert imported(path, tmp_path / "out.json")["factors"][0]["mscale"]["value"] == 2 * ATTENTION_FACTOR


@pytest.mark.parametrize("keys", [{"rope.scaling.type": "yarn"}, {"rope.scaling.yarn_ext_factor": 1.0}])
def test_yarn_beside_the_tables_is_refused(tmp_path, keys):
    path = write_gguf(tmp_path / "in.gguf", lambda found, _: found.update(keys))
    done = run("import_gguf.py", path, "--out", tmp_path / "out.json")
    assert done.returncode == 2 and "must not carry YaRN scaling beside its factors" in done.stderr, done.stderr
    assert not (tmp_path / "out.json").exists()
