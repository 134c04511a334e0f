"""tools/export_gguf.py over plain blocks (yarn, linear, rope_theta): keys of every architecture, no tensors.

What llama.cpp computes from the keys is read by the rule of gguf_scaled_base_test.py; where it is installed, it scores the
file as well.
"""

import importlib.util
import json
import math
import shutil
import subprocess

import gguf
import numpy as np
import pytest

from export_gguf_test import HEADS, LONGROPE, MODEL, export, write_base
from gguf_scaled_base_test import add_to_gguf, llama3_factors, llama_cpp_rotation, nll_by_llama_cpp
from llama_cpp_reference import write_gguf

ORIGINAL, TARGET, ROTARY_DIM, ROPE_THETA = 512, 2048, 64, 10000.0
CASES = {"yarn": ("yarn", 1.1386294361119891), "yarn with another attention factor": ("yarn", 1.0625),
         "linear": ("pi", 1.0), "theta": ("ntk", 1.0), "theta with an attention factor": ("ntk", 1.0625)}


def run(*arguments):
    return subprocess.run([LONGROPE, *map(str, arguments)], check=True, capture_output=True, text=True)


@pytest.fixture(scope="module", params=CASES)
def exported(request, tmp_path_factory):
    """A folder with the export of a closed form for llama.cpp, and the copy of a GGUF file with it; the factors."""
    method, attention_factor = CASES[request.param]
    folder = tmp_path_factory.mktemp("plain")
    shutil.copytree(MODEL, folder / "model", ignore=shutil.ignore_patterns("text"))
    base = write_gguf(folder, "fp32")
    factors = json.loads(run("factors", "--model", MODEL, "--length", TARGET, "--method", method, "--json").stdout)["lambda"]
    (folder / "factors.csv").write_text("\n".join(map(repr, factors)))
    run("import", folder / "factors.csv", "--model", MODEL, "--length", TARGET, "--attention-factor", attention_factor,
        "--out", folder / "factors.json")
    written = run("export", "--factors", folder / "factors.json", "--model", folder / "model", "--engine", "llama.cpp",
                  "--out", folder / "export")
    assert "tools/export_gguf.py" in written.stderr
    base = base.rename(folder / "base.gguf")
    done = export(folder / "export" / "config.json", "--base", base, "--out", folder / "model-fp32.gguf")
    assert done.returncode == 0 and not done.stderr, done.stderr
    return folder, factors, attention_factor


@pytest.mark.parametrize("context", [ORIGINAL, TARGET])
def test_llama_cpps_rule_gives_the_angles_of_the_factors_at_every_length(exported, context):
    folder, factors, attention_factor = exported
    angles, found = llama_cpp_rotation(folder / "model-fp32.gguf", context)
    expected = ROPE_THETA ** (-np.arange(0, ROTARY_DIM, 2) / ROTARY_DIM) / np.float64(factors)
    np.testing.assert_allclose(angles, expected, rtol=1e-6)
    assert found == pytest.approx(attention_factor, rel=1e-6)
    reader = gguf.GGUFReader(folder / "model-fp32.gguf")
    assert not [tensor.name for tensor in reader.tensors if tensor.name.startswith("rope_")]
    assert reader.get_field("llama.context_length").contents() == TARGET


@pytest.mark.parametrize("context", [ORIGINAL, TARGET])
def test_llama_cpp_scores_the_copy_as_the_worker_does(exported, tmp_path, context):
    if importlib.util.find_spec("llama_cpp") is None:
        pytest.skip("NOT RUN: llama-cpp-python is not installed (make test without CI=1 does)")
    folder, _, _ = exported
    documents = tmp_path / "documents.safetensors"
    run("documents", "--length", TARGET, "--count", 1, "--out", documents, MODEL / "text" / "heldout.txt")
    expected = json.loads(run("score", "--model", folder / "export", "--documents", documents, "--length", context,
                              "--factors", "none", "--json").stdout)["total"]["nll_sum"]
    assert nll_by_llama_cpp(folder, documents, context, tmp_path) == pytest.approx(expected, rel=1e-4)


YARN = {"rope_type": "yarn", "factor": 4.0, "attention_factor": 1.0625, "beta_fast": 32.0, "beta_slow": 1.0,
        "original_max_position_embeddings": ORIGINAL, "rope_theta": ROPE_THETA}


def config_with(folder, rope, **changes):
    written = {"hidden_size": 128, "num_attention_heads": 2, "max_position_embeddings": TARGET,
               "rope_parameters": rope} | changes
    path = folder / "config.json"
    path.write_text(json.dumps(written))
    return path


def keys_of(path, architecture):
    reader = gguf.GGUFReader(path)
    begin = f"{architecture}.rope."
    return {name.removeprefix(begin): field.contents() for name, field in reader.fields.items() if name.startswith(begin)}


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3", "qwen3moe", "gemma", "gemma2", "smollm3", "llama"])
def test_models_without_factor_tensors_get_yarn_as_keys(tmp_path, architecture):
    base = write_base(tmp_path / "base.gguf", architecture, HEADS)
    done = export(config_with(tmp_path, YARN), "--base", base, "--out", tmp_path / "out.gguf")
    assert done.returncode == 0 and not done.stderr, done.stderr
    keys = keys_of(tmp_path / "out.gguf", architecture)
    assert keys.pop("scaling.attn_factor") == pytest.approx(1.0625 / (0.1 * math.log(4) + 1), rel=1e-6)
    assert keys == {"freq_base": ROPE_THETA, "scaling.type": "yarn", "scaling.factor": 4.0, "scaling.yarn_beta_fast": 32.0,
                    "scaling.yarn_beta_slow": 1.0, "scaling.original_context_length": ORIGINAL}


def test_a_changed_theta_is_one_key(tmp_path):
    base = write_base(tmp_path / "base.gguf", "qwen3", HEADS | {"rope.freq_base": 10000.0, "rope.scaling.factor": 2.0,
                                                                "rope.scaling.type": "linear"})
    config = config_with(tmp_path, {"rope_type": "default", "rope_theta": 43000.0})
    done = export(config, "--base", base, "--out", tmp_path / "out.gguf")
    assert done.returncode == 0 and "left out of the copy: qwen3.rope.scaling.factor = 2.0" in done.stderr, done.stderr
    assert keys_of(tmp_path / "out.gguf", "qwen3") == {"freq_base": 43000.0, "scaling.type": "none"}


def test_transformers_4_puts_the_block_elsewhere(tmp_path):
    base = write_base(tmp_path / "base.gguf", "qwen3", HEADS)
    rope = {key: value for key, value in YARN.items() if key != "rope_theta"}
    config = config_with(tmp_path, None, rope_scaling=rope, rope_theta=ROPE_THETA)
    done = export(config, "--base", base, "--out", tmp_path / "out.gguf")
    assert done.returncode == 0, done.stderr
    assert keys_of(tmp_path / "out.gguf", "qwen3")["scaling.type"] == "yarn"


def test_gemma_3_takes_the_block_of_its_layers_without_a_window(tmp_path):
    base = write_base(tmp_path / "base.gguf", "gemma3", HEADS | {"rope.freq_base_swa": 5000.0})
    usual = YARN | {"attention_factor": 0.1 * math.log(4) + 1}
    config = config_with(tmp_path, {"full_attention": usual, "sliding_attention": {"rope_type": "default"}})
    done = export(config, "--base", base, "--out", tmp_path / "out.gguf")
    assert done.returncode == 0, done.stderr
    assert keys_of(tmp_path / "out.gguf", "gemma3")["freq_base_swa"] == 5000.0, "it is no scaling"
    refused = export(config_with(tmp_path, YARN), "--base", base, "--out", tmp_path / "other.gguf")
    assert refused.returncode == 2 and "attention_factor must be that of yarn, 1.13863" in refused.stderr, refused.stderr


def test_betas_that_llama_cpp_does_not_read_are_told(tmp_path):
    config = config_with(tmp_path, YARN | {"beta_fast": 8.0, "beta_slow": 0.5})
    for architecture, told in (("qwen3", True), ("mistral3", False)):
        base = write_base(tmp_path / f"{architecture}.gguf", architecture, HEADS)
        done = export(config, "--base", base, "--out", tmp_path / "out.gguf")
        assert done.returncode == 0, done.stderr
        assert ("every start needs --yarn-beta-fast 8.0 --yarn-beta-slow 0.5" in done.stderr) == told, done.stderr
    # Betas that truncate to the pairs of 32 and 1 need nothing.
    base = write_base(tmp_path / "base.gguf", "qwen3", HEADS)
    done = export(config_with(tmp_path, YARN | {"beta_fast": 31.0}), "--base", base, "--out", tmp_path / "out.gguf")
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_width_of_a_head_is_read_where_it_is_not_that_of_the_embedding(tmp_path):
    base = write_base(tmp_path / "base.gguf", "qwen3", HEADS | {"attention.key_length": 32})
    refused = export(config_with(tmp_path, YARN), "--base", base, "--out", tmp_path / "out.gguf")
    assert refused.returncode == 2 and "64 rotated channels, 2 for each factor: 32" in refused.stderr, refused.stderr
    done = export(config_with(tmp_path, YARN, head_dim=32), "--base", base, "--out", tmp_path / "out.gguf")
    assert done.returncode == 0, done.stderr


def test_rope_freqs_of_the_base_is_left_out_of_a_plain_copy(tmp_path):
    plain = write_base(tmp_path / "plain.gguf", "llama", HEADS)
    base = add_to_gguf(plain, tmp_path / "base.gguf", {}, {"rope_freqs.weight": llama3_factors()})
    done = export(config_with(tmp_path, YARN), "--base", base, "--out", tmp_path / "out.gguf")
    assert done.returncode == 0 and "left out of the copy: rope_freqs.weight" in done.stderr, done.stderr
    assert "warning" not in done.stderr
    assert "rope_freqs.weight" not in {tensor.name for tensor in gguf.GGUFReader(tmp_path / "out.gguf").tensors}


@pytest.mark.parametrize("rope, changes, architecture, keys, rule", [
    (YARN | {"rope_type": "llama3"}, {}, "llama", {}, "yarn, linear or default, which llama.cpp has keys for: 'llama3'"),
    (YARN | {"factor": 0.5}, {}, "llama", {}, "factor must be at least 1: 0.5"),
    (YARN | {"factor": None}, {}, "llama", {}, "factor must be a positive float32: None"),
    (YARN | {"beta_slow": -1}, {}, "llama", {}, "beta_slow must be a positive float32: -1"),
    (YARN | {"truncate": False}, {}, "llama", {}, "truncate must be true"),
    (YARN | {"rope_theta": 5e5}, {}, "qwen3", {}, "rope_theta of the configuration, 500000.0"),
    (YARN, {"head_dim": "64"}, "llama", {}, "head_dim and partial_rotary_factor must be positive"),
    (YARN, {"hidden_size": None}, "llama", {}, "hidden_size must be an integer from 1"),
    (YARN, {}, "deepseek2", {}, "whose rope keys were looked up in llama.cpp"),
    (YARN, {}, "mistral3", {"attention.temperature_scale": 0.1, "rope.scaling.original_context_length": 16384},
     "original_context_length of the base, 16384, which scales its queries: 512"),
    ({"full_attention": YARN, "sliding_attention": {"rope_type": "linear"}}, {}, "gemma3", {},
     "layers with a window must have rope_type default"),
    (["yarn"], {}, "llama", {}, "a configuration must have rope parameters"),
])
def test_what_does_not_fit_is_refused_and_leaves_nothing(tmp_path, rope, changes, architecture, keys, rule):
    base = write_base(tmp_path / "base.gguf", architecture, HEADS | keys)
    config = config_with(tmp_path, rope, **changes)
    before = sorted(tmp_path.iterdir())
    done = export(config, "--base", base, "--out", tmp_path / "out.gguf")
    assert done.returncode == 2 and rule in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert sorted(tmp_path.iterdir()) == before
