"""`longrope score --gradient` on the bundled model against PyTorch's autograd through transformers in double precision."""

import json

import pytest

from longrope_processes import MODEL, longrope

torch = pytest.importorskip("torch", reason="NOT RUN: torch is not installed (tools/install_dependencies.sh test)")
transformers = pytest.importorskip(
    "transformers", reason="NOT RUN: transformers is not installed (tools/install_dependencies.sh test)")

LENGTH = 1024
SCALE = 2.0  # the model was trained at 512 positions; position interpolation divides every frequency by this
THETA = 10000.0
HEAD_DIM = 64


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    path = tmp_path_factory.mktemp("documents") / "heldout.safetensors"
    longrope("documents", "--length", LENGTH, "--count", 2, "--out", path, MODEL / "text" / "heldout.txt")
    return path


def gradient(documents, *arguments):
    printed = longrope("score", "--model", MODEL, "--documents", documents, "--length", LENGTH, "--threads", 2,
                       "--factors", "pi", "--gradient", "--json", *arguments).stdout
    return json.loads(printed)


def autograd(tokens):
    """(NLL sum, d/d ln λ, d/d ln m) by transformers' model, whose rotary embedding is replaced by the formula."""
    model = transformers.AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float64, attn_implementation="sdpa")
    model.requires_grad_(False)
    log_lambda = torch.zeros(HEAD_DIM // 2, dtype=torch.float64, requires_grad=True)
    log_attention = torch.zeros((), dtype=torch.float64, requires_grad=True)

    def rotary(x, position_ids, *_, **__):
        pairs = torch.arange(HEAD_DIM // 2, dtype=torch.float64)
        frequencies = THETA ** (-2.0 * pairs / HEAD_DIM) / SCALE * torch.exp(-log_lambda)
        angles = position_ids[..., None].double() * frequencies
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos() * log_attention.exp(), angles.sin() * log_attention.exp()

    model.model.rotary_emb.forward = rotary
    ids = torch.tensor(tokens)[None]
    logits = model(ids).logits[0, :-1]
    nll = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum")
    nll.backward()
    return nll.item(), log_lambda.grad, log_attention.grad.item()


def test_gradient_is_that_of_autograd_through_transformers(documents):
    from safetensors.torch import load_file

    found = gradient(documents, "--count", 1)["documents"][0]
    tokens = next(tensor for name, tensor in load_file(documents).items() if not name.endswith(".scored"))
    nll, log_lambda, log_attention = autograd(tokens.tolist())
    assert found["nll_sum"] == pytest.approx(nll, rel=1e-5)
    # What counts is the change within the freedom of a pair: one that turns fast has a large gradient and little of it.
    pairs = torch.arange(HEAD_DIM // 2, dtype=torch.float64)
    freedom = torch.clamp(0.03 * THETA ** (2.0 * pairs / HEAD_DIM), max=1.0)
    own = torch.tensor(found["gradient"]["log_lambda"], dtype=torch.float64)
    scale = (freedom * log_lambda).abs().max()
    assert ((freedom * (own - log_lambda)).abs().max() / scale).item() < 1e-3
    assert found["gradient"]["log_attention_factor"] == pytest.approx(log_attention, rel=1e-3)


def test_total_is_the_sum_of_documents_and_bf16_points_the_same_way(documents):
    found = gradient(documents)
    sums = [sum(values) for values in zip(*(one["gradient"]["log_lambda"] for one in found["documents"]), strict=True)]
    assert found["total"]["gradient"]["log_lambda"] == pytest.approx(sums)
    in_bf16 = gradient(documents, "--dtype", "bf16")["total"]["gradient"]["log_lambda"]
    pairs = torch.arange(HEAD_DIM // 2, dtype=torch.float64)
    freedom = torch.clamp(0.03 * THETA ** (2.0 * pairs / HEAD_DIM), max=1.0)
    cosine = torch.nn.functional.cosine_similarity(
        freedom * torch.tensor(sums, dtype=torch.float64), freedom * torch.tensor(in_bf16, dtype=torch.float64), dim=0)
    assert cosine.item() > 0.95


def test_table_shows_the_gradient_of_the_mean_nll(documents):
    printed = longrope("score", "--model", MODEL, "--documents", documents, "--length", "512,1024", "--count", 1,
                       "--threads", 2, "--factors", "none", "--gradient", "--timings").stdout
    assert "Gradient of the mean NLL at 512 tokens under none:" in printed
    assert "Gradient of the mean NLL at 1024 tokens under none:" in printed
    assert printed.count("(d / d ln m)") == 2


@pytest.mark.parametrize("arguments", [("--fitness", "accuracy"), ("--fitness", "sliding", "--window", 256, "--stride", 128)])
def test_other_fitness_has_no_gradient(documents, arguments):
    done = longrope("score", "--model", MODEL, "--documents", documents, "--length", 512, "--gradient", *arguments,
                    check=False)
    assert done.returncode == 2
    assert f"only the fitness perplexity has a gradient: {arguments[1]} (--gradient)" in done.stderr
