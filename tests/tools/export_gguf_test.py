"""tools/export_gguf.py: the copy read back by the `gguf` package and, where it is installed, by llama.cpp."""

import importlib.util
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
LONGROPE = pathlib.Path(os.environ["LONGROPE_BINARY_DIR"]) / "longrope"
MODEL = ROOT / "models" / "byte-llama"
BENCH = ROOT / "bench"
sys.path.insert(0, str(BENCH))
from llama_cpp_reference import write_gguf  # noqa: E402

ORIGINAL, TARGET, ATTENTION_FACTOR = 512, 2048, 1.125


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with the bundled model and its GGUF file."""
    folder = tmp_path_factory.mktemp("base")
    shutil.copytree(MODEL, folder / "model", ignore=shutil.ignore_patterns("text"))
    return folder, write_gguf(folder, "fp32")


@pytest.fixture
def config(tmp_path):
    """config.json of an export with YaRN's factors and another attention factor than any rule's."""
    printed = subprocess.run([LONGROPE, "factors", "--model", MODEL, "--length", str(TARGET), "--method", "yarn", "--json"],
                             capture_output=True, text=True, check=True).stdout
    factors = json.loads(printed)["lambda"]
    written = json.loads((MODEL / "config.json").read_text())
    written |= {"max_position_embeddings": TARGET, "original_max_position_embeddings": ORIGINAL}
    written["rope_parameters"] = {"rope_type": "longrope", "rope_theta": 10000.0, "long_factor": factors,
                                  "short_factor": [1.0] * 32, "attention_factor": ATTENTION_FACTOR}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(written))
    return path


def export(*arguments):
    return subprocess.run([sys.executable, "-B", ROOT / "tools" / "export_gguf.py", *map(str, arguments)],
                          capture_output=True, text=True, check=False)


def values(reader, *keys):
    return [reader.get_field(f"llama.{key}").contents() for key in keys]


def test_the_copy_has_the_factors_and_everything_of_the_base(base, config, tmp_path):
    folder, path = base
    out = tmp_path / "out.gguf"
    done = export(config, "--base", path, "--out", out)
    assert done.returncode == 0, done.stderr
    copy, original = gguf.GGUFReader(out), gguf.GGUFReader(path)
    assert values(copy, "rope.scaling.type", "rope.scaling.original_context_length", "context_length",
                  "rope.dimension_count") == ["longrope", ORIGINAL, TARGET, 64]
    assert values(copy, "rope.scaling.attn_factor", "rope.freq_base") == [ATTENTION_FACTOR, 10000.0]
    assert values(copy, "block_count") == values(original, "block_count")
    tensors = {tensor.name: tensor.data for tensor in copy.tensors}
    rope = json.loads(config.read_text())["rope_parameters"]
    for name, key in (("rope_factors_long.weight", "long_factor"), ("rope_factors_short.weight", "short_factor")):
        assert np.array_equal(tensors.pop(name), np.asarray(rope[key], dtype=np.float32))
    assert tensors.keys() == {tensor.name for tensor in original.tensors}
    for tensor in original.tensors:
        assert np.array_equal(tensors[tensor.name], tensor.data), tensor.name
    # A second time the factors are replaced, not doubled.
    again = tmp_path / "again.gguf"
    assert export(config, "--base", out, "--out", again).returncode == 0
    assert again.read_bytes() == out.read_bytes()


def test_without_a_base_the_file_holds_factors_and_keys_alone(config, tmp_path):
    out = tmp_path / "factors.gguf"
    assert export(config, "--out", out).returncode == 0
    reader = gguf.GGUFReader(out)
    assert {tensor.name for tensor in reader.tensors} == {"rope_factors_long.weight", "rope_factors_short.weight"}
    assert values(reader, "rope.scaling.type") == ["longrope"]


@pytest.mark.parametrize("length", [ORIGINAL, TARGET])
def test_llama_cpp_reads_the_copy_with_the_workers_perplexity(base, config, tmp_path, length):
    if importlib.util.find_spec("llama_cpp") is None:
        pytest.skip("NOT RUN: llama-cpp-python is not installed (make test without CI=1 does)")
    folder, path = base
    documents = tmp_path / "documents.safetensors"
    subprocess.run([LONGROPE, "documents", "--length", str(TARGET), "--count", "1", "--out", documents,
                    MODEL / "text" / "heldout.txt"], check=True, capture_output=True)
    (factors := tmp_path / "factors.csv").write_text(
        "\n".join(map(str, json.loads(config.read_text())["rope_parameters"]["long_factor"])))
    expected = json.loads(subprocess.run(
        [LONGROPE, "score", "--model", MODEL, "--documents", documents, "--length", str(length), "--factors",
         "none" if length <= ORIGINAL else factors, "--attention-factor", str(ATTENTION_FACTOR), "--json"],
        check=True, capture_output=True, text=True).stdout)["total"]["nll_sum"]
    # Where the reference of the bench looks for its files.
    (tmp_path / "model").symlink_to(folder / "model")
    save_file({"random": next(iter(load_file(documents).values()))}, documents)
    assert export(config, "--base", path, "--out", tmp_path / "model-fp32.gguf").returncode == 0
    script = f"from llama_cpp_reference import run_llama_cpp; import pathlib; " \
             f"run_llama_cpp(pathlib.Path({str(tmp_path)!r}), {length}, 'fp32', 1)"
    found = subprocess.run([sys.executable, "-B", "-c", script], cwd=BENCH, check=True, capture_output=True, text=True)
    nll_sum = json.loads(found.stdout.splitlines()[-1])["nll_sum"]
    assert nll_sum == pytest.approx(expected, rel=1e-4)


def changed(config, change):
    written = json.loads(config.read_text())
    change(written)
    config.write_text(json.dumps(written))


@pytest.mark.parametrize("change, rule", [
    (lambda config: config["rope_parameters"].update(rope_type="llama3"), "rope_type longrope"),
    (lambda config: config["rope_parameters"].pop("attention_factor"), "attention_factor must be a positive"),
    (lambda config: config["rope_parameters"].update(attention_factor=True), "attention_factor must be a positive"),
    (lambda config: config["rope_parameters"].update(attention_factor=1e39), "a positive float32: 1e+39"),
    (lambda config: config["rope_parameters"].update(rope_theta=math.inf), "rope_theta must be a positive float32"),
    (lambda config: config["rope_parameters"].update(rope_theta=10**400), "a positive float32: 1000"),
    (lambda config: config["rope_parameters"].update(rope_theta=[10000.0]), "a positive float32: [10000.0]"),
    (lambda config: config["rope_parameters"].update(long_factor=2.0), "long_factor must be a list of factors: 2.0"),
    (lambda config: config["rope_parameters"].update(short_factor={"0": 1.0}), "short_factor must be a list"),
    (lambda config: config["rope_parameters"].update(long_factor=[], short_factor=[]), "long_factor must be a list"),
    (lambda config: config["rope_parameters"]["long_factor"].pop(), "one length: 31 and 32"),
    (lambda config: config["rope_parameters"]["long_factor"].__setitem__(3, -1), "float32 numbers: pair 3 is -1"),
    (lambda config: config["rope_parameters"]["long_factor"].__setitem__(3, math.nan), "numbers: pair 3 is nan"),
    (lambda config: config["rope_parameters"]["short_factor"].__setitem__(3, "1"), "numbers: pair 3 is '1'"),
    (lambda config: config["rope_parameters"]["short_factor"].__setitem__(3, 1e-60), "numbers: pair 3 is 1e-60"),
    (lambda config: config.pop("original_max_position_embeddings"), "integer from 1 to 4294967295: None"),
    (lambda config: config.update(original_max_position_embeddings=0), "integer from 1 to 4294967295: 0"),
    (lambda config: config.update(max_position_embeddings=2048.0), "integer from 1 to 4294967295: 2048.0"),
    (lambda config: config.update(max_position_embeddings=True), "integer from 1 to 4294967295: True"),
    (lambda config: config.update(max_position_embeddings=2**32), "integer from 1 to 4294967295: 4294967296"),
    (lambda config: config["rope_parameters"].update(long_factor=[1.0] * 16, short_factor=[1.0] * 16),
     "32 rotated channels, 2 for each factor: 64"),
    (lambda config: config["rope_parameters"].update(rope_theta=5e5), "rope_theta of the configuration, 500000.0"),
])
def test_what_does_not_fit_is_refused_and_leaves_nothing(base, config, tmp_path, change, rule):
    changed(config, change)
    before = sorted(tmp_path.iterdir())
    done = export(config, "--base", base[1], "--out", tmp_path / "out.gguf")
    assert done.returncode == 2 and rule in done.stderr, done.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_configuration_nested_too_deeply_is_refused(base, config, tmp_path):
    config.write_text("[" * 200_000)
    done = export(config, "--base", base[1], "--out", tmp_path / "out.gguf")
    assert done.returncode == 2 and "readable JSON" in done.stderr and "Traceback" not in done.stderr, done.stderr


def write_base(path, architecture, keys, alignment=None, parts=None, output=True):
    writer = gguf.GGUFWriter(path, architecture)
    if alignment is not None:
        writer.add_custom_alignment(alignment)
    if parts is not None:
        writer.add_uint16(gguf.Keys.Split.LLM_KV_SPLIT_COUNT, parts)
    for key, value in keys.items():
        writer.add_key_value(f"{architecture}.{key}", value, gguf.GGUFValueType.get_type(value))
    for name in ("token_embd.weight", "output.weight")[: 2 if output else 1]:
        writer.add_tensor(name, np.zeros((2, 128), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


HEADS = {"attention.head_count": 2, "embedding_length": 128}


def test_the_copy_keeps_the_alignment_of_the_base(config, tmp_path):
    base = write_base(tmp_path / "base.gguf", "llama", HEADS, alignment=256)
    done = export(config, "--base", base, "--out", tmp_path / "out.gguf")
    assert done.returncode == 0, done.stderr
    copy = gguf.GGUFReader(tmp_path / "out.gguf")
    assert copy.alignment == 256 and all(tensor.data_offset % 256 == 0 for tensor in copy.tensors)
    tensors = {tensor.name: tensor.data.tolist() for tensor in copy.tensors}
    assert tensors["rope_factors_short.weight"] == [1.0] * 32 and len(tensors) == 4


def test_a_base_that_lacks_the_lm_head_of_an_untied_model_is_refused(config, tmp_path):
    base = write_base(tmp_path / "base.gguf", "llama", HEADS, output=False)
    refused = export(config, "--base", base, "--out", tmp_path / "out.gguf")
    assert refused.returncode == 2 and "the base must have output.weight" in refused.stderr, refused.stderr
    changed(config, lambda written: written.update(tie_word_embeddings=True))
    assert export(config, "--base", base, "--out", tmp_path / "out.gguf").returncode == 0


def test_a_part_of_several_files_is_refused(config, tmp_path):
    base = write_base(tmp_path / "part.gguf", "llama", HEADS, parts=2)
    refused = export(config, "--base", base, "--out", tmp_path / "out.gguf")
    assert refused.returncode == 2 and "must be one file" in refused.stderr and "part.gguf" in refused.stderr
    assert not (tmp_path / "out.gguf").exists()


@pytest.mark.parametrize("architecture", ["llama", "phi3", "phimoe", "minicpm", "minicpm3", "deci", "apertus", "granite",
                                          "granitemoe", "mistral3"])
def test_bases_whose_factors_llama_cpp_reads_are_accepted(config, tmp_path, architecture):
    base = write_base(tmp_path / "base.gguf", architecture, HEADS)
    done = export(config, "--base", base, "--out", tmp_path / "out.gguf")
    assert done.returncode == 0, done.stderr
    assert gguf.GGUFReader(tmp_path / "out.gguf").get_field("general.architecture").contents() == architecture


@pytest.mark.parametrize("architecture, keys, rule", [
    ("qwen2", {"rope.dimension_count": 64}, "apertus, granite, granitemoe, mistral3: 'qwen2'"),
    ("pangu-embed", {"rope.dimension_count": 64}, "an architecture that llama.cpp gives factors to"),
    ("llama", {}, "llama.attention.head_count must be an integer from 1 to 4294967295: None"),
    ("llama", {"attention.head_count": 2}, "llama.embedding_length must be an integer from 1 to 4294967295: None"),
    ("llama", {"attention.head_count": 0, "embedding_length": 128}, "head_count must be an integer from 1"),
    ("deci", {"attention.head_count": [2, 2], "embedding_length": 128}, "integer from 1 to 4294967295: [2, 2]"),
    ("llama", {"rope.dimension_count": "64"}, "llama.rope.dimension_count must be an integer from 1"),
    ("llama", {"rope.dimension_count": 64, "rope.freq_base": "10000"}, "llama.rope.freq_base must be a positive"),
])
def test_a_base_that_does_not_fit_is_refused(config, tmp_path, architecture, keys, rule):
    base = write_base(tmp_path / "base.gguf", architecture, keys)
    before = sorted(tmp_path.iterdir())
    done = export(config, "--base", base, "--out", tmp_path / "out.gguf")
    assert done.returncode == 2 and rule in done.stderr and "base.gguf" in done.stderr, done.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_base_that_is_no_gguf_file_is_refused(config, tmp_path):
    (tmp_path / "base.gguf").write_bytes(b"GGUF" + bytes(3))
    done = export(config, "--base", tmp_path / "base.gguf", "--out", tmp_path / "out.gguf")
    assert done.returncode == 2 and "readable GGUF file" in done.stderr and "Traceback" not in done.stderr, done.stderr
