"""A memory budget is kept: weights stay in their files, results stay the same, and what cannot fit is refused."""

import json
import re

import pytest

from longrope_processes import MODEL, longrope

LENGTH = 1024


@pytest.fixture(scope="module")
def deep_model(tmp_path_factory):
    """A random Llama whose weights, 141 MiB of float32, are most of what scoring takes."""
    torch = pytest.importorskip("torch", reason="NOT RUN: torch is not installed (tools/install_dependencies.sh test)")
    transformers = pytest.importorskip("transformers", reason="NOT RUN: transformers is not installed "
                                       "(tools/install_dependencies.sh test)")
    torch.manual_seed(1)
    config = transformers.LlamaConfig(vocab_size=258, hidden_size=256, intermediate_size=704, num_hidden_layers=50,
                                      num_attention_heads=4, num_key_value_heads=2, head_dim=64,
                                      max_position_embeddings=512, bos_token_id=256, eos_token_id=257)
    folder = tmp_path_factory.mktemp("deep") / "model"
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    path = tmp_path_factory.mktemp("documents") / "documents.safetensors"
    longrope("documents", "--length", LENGTH, "--count", 1, "--out", path, MODEL / "text" / "heldout.txt")
    return path


def score(model, documents, *options, check=True):
    return longrope("score", "--model", model, "--documents", documents, "--length", LENGTH, "--factors", "yarn", "--json",
                    *options, check=check)


def total(done):
    return json.loads(done.stdout)["total"]


def test_a_model_of_three_times_the_budget_is_streamed_to_the_same_bits(deep_model, documents):
    weights = sum(path.stat().st_size for path in deep_model.glob("*.safetensors"))
    held = total(score(deep_model, documents))
    streamed = total(score(deep_model, documents, "--memory-budget", weights // 3))
    assert streamed["nll_sum"] == held["nll_sum"] and streamed["blocks"] == held["blocks"]
    # Most of the weights are gone from memory; what remains of the difference is one layer and what the system kept.
    assert held["peak_memory_bytes"] - streamed["peak_memory_bytes"] > 0.6 * weights


def test_threads_change_no_bit(documents):
    one, two = (total(score(MODEL, documents, "--threads", threads)) for threads in (1, 2))
    assert one["nll_sum"] == two["nll_sum"] and one["blocks"] == two["blocks"]


def test_what_cannot_fit_is_refused_before_it_is_computed(documents):
    done = score(MODEL, documents, "--memory-budget", "8MiB", check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert "not enough memory" in done.stderr and "8.0 MiB available" in done.stderr


def test_the_estimate_is_printed_for_a_length_and_refused_alike():
    printed = longrope("inspect-model", MODEL, "--length", 100000).stdout
    assert "for 100,000 tokens" in printed and "1,152 tokens" in printed
    assert re.search(r"^longest length +[0-9,]+ tokens fit the budget$", printed, re.MULTILINE)
    streamed = longrope("inspect-model", MODEL, "--length", LENGTH, "--memory-budget", "30MiB").stdout
    assert "streamed from their files" in streamed
    on_gpu = ("inspect-model", MODEL, "--length", 100000, "--device", "cuda", "--dtype", "bf16")
    assert "8,192 tokens" in longrope(*on_gpu).stdout
    assert "longest length" in longrope(*on_gpu, "--memory-budget", "1GiB").stdout
    refused = longrope("inspect-model", MODEL, "--length", 2097152, "--memory-budget", "1GiB", check=False)
    assert refused.returncode == 1 and "the longest length that fits is" in refused.stderr
