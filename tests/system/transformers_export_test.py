"""Exported directories give the worker's logits in real transformers, on the short and on the long table."""

import json
import pathlib
import subprocess

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from longrope_processes import MODEL, ROOT, best, longrope, write_search

TARGET = 4096
ORIGINAL = 512
MAX_DIFFERENCE = 1e-3  # absolute, fp32 logits
PYTHONS = {"hf5": ROOT / ".venv" / "bin" / "python", "hf4": ROOT / ".venv-transformers4" / "bin" / "python"}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A finished search whose winner has an attention factor other than 1: the harder case."""
    folder = tmp_path_factory.mktemp("search")
    config = write_search(folder, length=TARGET, population=2, iterations=0, seeds='["yarn"]',
                          policies='["su", "yarn"]', documents=1)
    longrope("run", config, "--db", folder / "search.db", "--workers", 2)
    assert best(folder / "search.db")["attention_factor"] > 1.1
    return folder


def perplexity(logits, tokens):
    shifted = logits[:-1].astype(np.float64)
    highest = shifted.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted - highest).sum(axis=1)) + highest[:, 0]
    return float(np.exp(np.mean(log_sum - shifted[np.arange(len(tokens) - 1), tokens[1:]])))


def python_of(target):
    python = PYTHONS[target]
    if not python.exists():
        pytest.skip(f"NOT RUN: {python.parent.parent.name} is not installed (tools/install_dependencies.sh test)")
    return python


def logits_of(python, model, tokens, folder, overrides=None):
    """What the transformers of that Python computes."""
    save_file({"tokens": tokens}, folder / "tokens.safetensors")
    script = pathlib.Path(__file__).with_name("transformers_logits.py")
    done = subprocess.run([python, "-B", script, model, folder / "tokens.safetensors", folder / "theirs.safetensors",
                           json.dumps(overrides or {})], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return load_file(folder / "theirs.safetensors")["logits"]


@pytest.mark.parametrize("length", [ORIGINAL, ORIGINAL + 1, TARGET])
@pytest.mark.parametrize("target", ["hf5", "hf4"])
def test_transformers_computes_the_workers_logits(searched, tmp_path, target, length):
    python = python_of(target)
    exported = tmp_path / "exported"
    longrope("export", "--db", searched / "search.db", "--model", MODEL, "--format", "hf", "--target", target, "--out",
             exported)
    factor = best(searched / "search.db")["attention_factor"]
    # Up to the original length transformers takes the short table, all ones; the attention factor applies to both.
    factors = "none" if length <= ORIGINAL else exported / "longrope_factors.json"
    ours = longrope("score", "--model", MODEL, "--documents", searched / "search.safetensors", "--length", length,
                    "--factors", factors, "--attention-factor", repr(factor), "--angles", "hf_fp32", "--dtype", "fp32",
                    "--threads", 2, "--logits-out", tmp_path / "ours.safetensors", "--json").stdout
    document = next(iter(load_file(searched / "search.safetensors").values()))[:length].astype(np.int64)
    their_logits = logits_of(python, exported, document, tmp_path)
    our_logits = load_file(tmp_path / "ours.safetensors")["logits"]
    assert our_logits.shape == their_logits.shape == (length, 258)
    assert np.abs(our_logits - their_logits).max() <= MAX_DIFFERENCE
    reported = json.loads(ours)["total"]["perplexity"]
    assert f"{reported:.5g}" == f"{perplexity(their_logits, document):.5g}"


@pytest.fixture(scope="module")
def scheduled(tmp_path_factory):
    """A checkpoint that was fine-tuned under YaRN's factors for 1,024 tokens, factors that extend it to 2,048, and
    others for documents of at most the original length; one attention factor."""
    folder = tmp_path_factory.mktemp("scheduled")
    longrope("documents", "--length", 2048, "--count", 1, "--out", folder / "documents.safetensors",
             MODEL / "text" / "heldout.txt")
    model = folder / "fine-tuned"
    longrope("finetune", "--model", MODEL, "--documents", folder / "documents.safetensors", "--length", 1024,
             "--factors", "yarn", "--attention-factor", 1.0625, "--steps", 1, "--batch-size", 1, "--threads", 2,
             "--out", model)
    fine_tuned = json.loads((model / "config.json").read_text())["rope_parameters"]["long_factor"]
    tables = {"short": (ORIGINAL, [1 + 0.25 * (value - 1) for value in fine_tuned]),
              "long": (2048, [1.125 * value for value in fine_tuned])}
    for name, (length, factors) in tables.items():
        (folder / f"{name}.csv").write_text("\n".join(map(repr, factors)))
        longrope("import", folder / f"{name}.csv", "--model", model, "--length", length, "--attention-factor", 1.125,
                 "--out", folder / f"{name}.json")
    longrope("export", "--factors", folder / "long.json", "--short-factors", folder / "short.json", "--model", model,
             "--format", "json", "--out", folder / "both.json")
    return folder


@pytest.mark.parametrize("length", [ORIGINAL, ORIGINAL + 1, 2048])
@pytest.mark.parametrize("target", ["hf5", "hf4"])
def test_transformers_takes_both_tables_of_a_schedule(scheduled, tmp_path, target, length):
    python = python_of(target)
    exported = tmp_path / "exported"
    longrope("export", "--factors", scheduled / "both.json", "--model", scheduled / "fine-tuned", "--format", "hf",
             "--target", target, "--out", exported)
    document = next(iter(load_file(scheduled / "documents.safetensors").values()))[:length].astype(np.int64)
    theirs = logits_of(python, exported, document, tmp_path)
    ours = {}
    # The table for the length, taken by hand; the schedule's; and the exported model as it is.
    for factors, model in ((scheduled / ("short.json" if length <= ORIGINAL else "long.json"), scheduled / "fine-tuned"),
                           (scheduled / "both.json", scheduled / "fine-tuned"), ("none", exported)):
        longrope("score", "--model", model, "--documents", scheduled / "documents.safetensors", "--length", length,
                 "--factors", factors, "--angles", "hf_fp32", "--dtype", "fp32", "--threads", 2,
                 "--logits-out", tmp_path / "ours.safetensors")
        ours[factors] = load_file(tmp_path / "ours.safetensors")["logits"]
        # Two engines in float32: each was within 1e-4 of double precision here.
        np.testing.assert_allclose(ours[factors], theirs, atol=2e-4, rtol=1e-5)
        assert np.array_equal(ours[factors], next(iter(ours.values())))


def test_export_outlives_the_model_directory(searched, tmp_path):
    exported = tmp_path / "exported"
    longrope("export", "--db", searched / "search.db", "--model", MODEL, "--format", "hf", "--out", exported)
    assert not any(path.is_symlink() for path in exported.rglob("*"))
    factors = tmp_path / "factors.csv"
    longrope("export", "--db", searched / "search.db", "--model", MODEL, "--format", "csv", "--out", factors)
    exported_lambda = json.loads((exported / "config.json").read_text())["rope_parameters"]["long_factor"]
    assert [float(line) for line in factors.read_text().split()] == exported_lambda == best(searched / "search.db")["lambda"]


def logits(model, length):
    import torch

    tokens = torch.tensor([list((MODEL / "text" / "heldout.txt").read_bytes()[:length])])
    with torch.no_grad():
        return model.eval()(tokens).logits


def exported_config(searched, tmp_path, kind, target="hf5"):
    import yaml

    path = tmp_path / f"{kind}.yaml"
    longrope("export", "--db", searched / "search.db", "--model", MODEL, "--format", kind, "--target", target, "--out", path)
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize("kind", ["vllm", "axolotl"])
@pytest.mark.parametrize("target", ["hf5", "hf4"])
def test_overrides_are_in_the_form_of_the_transformers_they_are_for(searched, tmp_path, kind, target):
    python = python_of(target)
    written = exported_config(searched, tmp_path, kind, target)
    overrides = json.loads(written["hf-overrides"]) if kind == "vllm" else written["overrides_of_model_config"]
    exported = tmp_path / "exported"
    longrope("export", "--db", searched / "search.db", "--model", MODEL, "--format", "hf", "--target", target, "--out",
             exported)
    tokens = np.frombuffer((MODEL / "text" / "heldout.txt").read_bytes()[:ORIGINAL + 1], dtype=np.uint8).astype(np.int64)
    expected = logits_of(python, exported, tokens, tmp_path)
    assert np.array_equal(logits_of(python, MODEL, tokens, tmp_path, overrides), expected)
    assert not np.array_equal(logits_of(python, MODEL, tokens, tmp_path), expected)


def test_vllm_overrides_make_the_exported_model_of_the_untouched_one(searched, tmp_path):
    """vLLM is not installed here: its overrides go through transformers, which it takes its configuration from, and what
    its rotary embedding reads otherwise (vllm/model_executor/layers/rotary_embedding) is checked by name."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = exported_config(searched, tmp_path, "vllm")
    overrides = json.loads(config["hf-overrides"])
    rope = overrides["rope_parameters"]
    # One table for each engine: the long one, since the longest sequence exceeds the original length.
    assert config["max-model-len"] == TARGET > rope["original_max_position_embeddings"] == ORIGINAL
    assert rope["short_mscale"] == rope["long_mscale"] == rope["attention_factor"] > 1.1
    exported = tmp_path / "exported"
    longrope("export", "--db", searched / "search.db", "--model", MODEL, "--format", "hf", "--out", exported)
    overridden = AutoModelForCausalLM.from_pretrained(MODEL, config=AutoConfig.from_pretrained(MODEL, **overrides),
                                                      dtype=torch.float32)
    expected = AutoModelForCausalLM.from_pretrained(exported, dtype=torch.float32)
    for length in (ORIGINAL, ORIGINAL + 1):
        assert torch.equal(logits(overridden, length), logits(expected, length))


def test_axolotl_overrides_train_every_length_with_the_searched_factors(searched, tmp_path):
    """axolotl is not installed here: it sets each override as an attribute of the loaded configuration."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    written = exported_config(searched, tmp_path, "axolotl")
    assert written["sequence_len"] == TARGET
    config = AutoConfig.from_pretrained(MODEL)
    for key, value in written["overrides_of_model_config"].items():
        setattr(config, key, value)
    model = AutoModelForCausalLM.from_pretrained(MODEL, config=config, dtype=torch.float32)
    exported = tmp_path / "exported"
    longrope("export", "--db", searched / "search.db", "--model", MODEL, "--format", "hf", "--out", exported)
    expected = AutoModelForCausalLM.from_pretrained(exported, dtype=torch.float32)
    assert torch.equal(logits(model, ORIGINAL + 1), logits(expected, ORIGINAL + 1))
    # Up to the original length the exported model takes the untouched angles; training must not.
    assert not torch.equal(logits(model, ORIGINAL), logits(expected, ORIGINAL))


# Factors that a plain block gives: method of `longrope factors`, or a formula; attention factor; what is written.
PLAIN = {"yarn": ("yarn", 1.2, {"rope_type": "yarn", "factor": 8.0, "beta_fast": 32.0, "beta_slow": 1.0}),
         "linear": ("pi", 1.0, {"rope_type": "linear", "factor": 8.0}),
         "theta": ("ntk", 1.0, {"rope_type": "default"}),
         "theta with an attention factor": ("ntk", 1.2, {"rope_type": "yarn", "factor": 1.0}),
         "llama3": (None, 1.0, {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0})}
THETA, PAIRS = 10000.0, 32


def llama3_lambda(factor=8.0, low=1.0, high=4.0):
    """The rule of Llama 3.1 in double precision."""
    turns = ORIGINAL * THETA ** (-np.arange(PAIRS) / PAIRS) / (2 * np.pi)
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return 1 / ((1 - kept) / factor + kept)


@pytest.fixture(scope="module", params=PLAIN)
def plain_factors(request, tmp_path_factory):
    """A canonical file with the factors; λ, attention factor, and some keys of the block."""
    method, attention_factor, block = PLAIN[request.param]
    folder = tmp_path_factory.mktemp("plain")
    values = llama3_lambda() if method is None else np.float64(json.loads(
        longrope("factors", "--model", MODEL, "--length", TARGET, "--method", method, "--json").stdout)["lambda"])
    (folder / "factors.csv").write_text("\n".join(map(repr, values.tolist())))
    longrope("import", folder / "factors.csv", "--model", MODEL, "--length", TARGET, "--attention-factor",
             attention_factor, "--out", folder / "factors.json")
    return folder / "factors.json", values, attention_factor, block


def rotations_of(python, models):
    """Inverse frequencies and attention scaling of (model, overrides) each, by the transformers of that Python."""
    script = pathlib.Path(__file__).with_name("transformers_rotation.py")
    done = subprocess.run([python, "-B", script, json.dumps([[str(model), overrides] for model, overrides in models])],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("target", ["hf5", "hf4"])
def test_transformers_reads_plain_blocks_as_the_factors(plain_factors, tmp_path, target):
    """What is written for other engines must be the same in transformers: vLLM and SGLang take their configuration from it,
    and a directory for mlx-lm is a Hugging Face directory."""
    import yaml

    factors, values, attention_factor, block = plain_factors
    python = python_of(target)
    engines = ["transformers", "vllm", "sglang"]
    # mlx-lm reads the form of transformers 4, and no attention factor beside rope_theta.
    if target == "hf4" and block.get("factor") != 1.0:
        engines.append("mlx")
    models = []
    for engine in engines:
        out = tmp_path / engine
        longrope("export", "--factors", factors, "--model", MODEL, "--engine", engine, "--target", target, "--out", out)
        if engine == "vllm":
            written = yaml.safe_load(out.read_text())
            assert written["max-model-len"] == TARGET
            config = json.loads(written["hf-overrides"])
            models.append((MODEL, config))
        else:
            config = json.loads((out / "config.json").read_text())
            models.append((out, {}))
        rope = config.get("rope_parameters" if target == "hf5" else "rope_scaling") or {}
        if target == "hf5" or block["rope_type"] != "default":  # transformers 4 has no block for rope_theta alone
            assert block.items() <= rope.items()
        assert "long_factor" not in rope and config["max_position_embeddings"] == TARGET
    expected = THETA ** (-np.arange(PAIRS) / PAIRS) / values
    for engine, found in zip(engines, rotations_of(python, models), strict=True):
        np.testing.assert_allclose(found["inverse_frequencies"], expected, rtol=1e-6, err_msg=engine)
        assert found["attention_scaling"] == pytest.approx(attention_factor, rel=1e-6), engine


def test_a_plain_export_scores_as_its_factors_do(plain_factors, tmp_path):
    factors, _, attention_factor, _ = plain_factors
    out = tmp_path / "out"
    longrope("export", "--factors", factors, "--model", MODEL, "--engine", "transformers", "--out", out)
    longrope("documents", "--length", TARGET, "--count", 1, "--out", tmp_path / "documents.safetensors",
             MODEL / "text" / "heldout.txt")
    totals = [json.loads(longrope("score", "--model", model, "--documents", tmp_path / "documents.safetensors", "--length",
                                  TARGET, "--factors", given, "--threads", 2, "--json").stdout)["total"]["nll_sum"]
              for model, given in ((MODEL, factors), (out, "none"))]
    assert totals[1] == pytest.approx(totals[0], rel=1e-6)
    document = next(iter(load_file(tmp_path / "documents.safetensors").values()))[:TARGET].astype(np.int64)
    theirs = logits_of(python_of("hf5"), out, document, tmp_path)
    assert np.log(perplexity(theirs, document)) * (TARGET - 1) == pytest.approx(totals[0], rel=1e-4)


def test_what_an_engine_does_not_take_is_refused_with_the_reason(tmp_path):
    """Factors of no rule, for a model class for which llama.cpp applies none."""
    model = tmp_path / "qwen"
    model.mkdir()
    config = json.loads((MODEL / "config.json").read_text()) | {"architectures": ["Qwen3ForCausalLM"]}
    (model / "config.json").write_text(json.dumps(config))
    (model / "model.safetensors").write_bytes((MODEL / "model.safetensors").read_bytes())
    table = np.linspace(1, 9, PAIRS)
    (tmp_path / "factors.csv").write_text("\n".join(map(repr, table.tolist())))
    longrope("import", tmp_path / "factors.csv", "--model", model, "--length", TARGET, "--attention-factor", 1.0, "--out",
             tmp_path / "factors.json")
    before = sorted(tmp_path.iterdir())
    refused = longrope("export", "--factors", tmp_path / "factors.json", "--model", model, "--engine", "llama.cpp", "--out",
                       tmp_path / "out", check=False)
    assert refused.returncode == 2 and "src/models/qwen3.cpp passes nullptr for factors" in refused.stderr
    assert "search in the space yarn or theta" in refused.stderr
    assert sorted(tmp_path.iterdir()) == before
