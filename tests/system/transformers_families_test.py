"""The worker computes the logits of transformers on a tiny random checkpoint of every family that it supports.

Checkpoints are written as the published ones are (config.json of transformers 4) and read by both. A reference that
differs from plain transformers, for leading positions that keep their angle, replaces only its rotary table.
"""

import json
import subprocess

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from longrope_processes import ROOT, best, longrope, write_search

torch = pytest.importorskip("torch", reason="NOT RUN: torch is not installed (tools/install_dependencies.sh test)")
transformers = pytest.importorskip("transformers", reason="NOT RUN: transformers is not installed "
                                   "(tools/install_dependencies.sh test)")

ORIGINAL = 64
LENGTHS = [37, ORIGINAL, ORIGINAL + 1, 2 * ORIGINAL, 512]
TOKENS = 1024  # enough for an extension of what reaches LENGTHS[-1] already
MAX_DIFFERENCE = 1e-4  # absolute, fp32 logits of about ±10
MAX_NLL_DIFFERENCE = 2e-3  # relative, bfloat16
VOCABULARY = 258  # of the bundled text
PYTHON_4 = ROOT / ".venv-transformers4" / "bin" / "python"


def family(architecture, model_type, **keys):
    return {"architectures": [architecture], "model_type": model_type, "vocab_size": VOCABULARY, "hidden_size": 64,
            "intermediate_size": 112, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "max_position_embeddings": ORIGINAL, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
            "tie_word_embeddings": False, "torch_dtype": "float32", "bos_token_id": 256, "eos_token_id": 257} | keys


def llama(**keys):
    return family("LlamaForCausalLM", "llama", **keys)


def qwen2(**keys):
    return family("Qwen2ForCausalLM", "qwen2", **keys)


PHI3 = {"original_max_position_embeddings": ORIGINAL, "pad_token_id": 257}
FAMILIES = {
    "llama2": llama(num_key_value_heads=4),
    "llama3": llama(rope_theta=500000.0),
    "llama3.1": llama(rope_theta=500000.0, max_position_embeddings=512, rope_scaling={
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": ORIGINAL}),
    "llama-linear": llama(rope_scaling={"type": "linear", "factor": 4.0}),
    "llama-biases": llama(attention_bias=True, mlp_bias=True),
    "smollm2": llama(rope_theta=100000.0, tie_word_embeddings=True),
    "smollm2-apart": llama(tie_word_embeddings=True),
    "mistral": family("MistralForCausalLM", "mistral", head_dim=24, sliding_window=24),
    "qwen2": qwen2(rope_theta=1000000.0),
    "qwen2-windowed": qwen2(use_sliding_window=True, sliding_window=24, max_window_layers=1),
    "qwen2.5-yarn": qwen2(rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": ORIGINAL}),
    "qwen3": family("Qwen3ForCausalLM", "qwen3", rope_theta=1000000.0, head_dim=32, tie_word_embeddings=True),
    "phi3": family("Phi3ForCausalLM", "phi3", hidden_size=192, num_attention_heads=2, sliding_window=2047, **PHI3),
    "phi4-mini": family("Phi3ForCausalLM", "phi3", partial_rotary_factor=0.75, tie_word_embeddings=True,
                        sliding_window=262144, **PHI3),
}
# Their checkpoints hold an lm_head that differs from the embedding to which config.json ties it.
APART = {"smollm2-apart"}
WINDOWED = [name for name, config in FAMILIES.items() if config.get("sliding_window") == 24]
UNSCALED = [name for name, config in FAMILIES.items() if "rope_scaling" not in config]


def pairs_of(config):
    head_dim = config.get("head_dim", config["hidden_size"] // config["num_attention_heads"])
    return int(head_dim * config.get("partial_rotary_factor", 1.0)) // 2


def carrying_longrope(config):
    """The family's config with the factors of a LongRoPE checkpoint, as Phi-3 writes them: exactly three keys."""
    pairs = pairs_of(config)
    return config | {"max_position_embeddings": 8 * ORIGINAL, "original_max_position_embeddings": ORIGINAL,
                     "rope_scaling": {"type": "longrope", "short_factor": np.linspace(1.0, 1.3, pairs).tolist(),
                                      "long_factor": np.linspace(1.0, 9.0, pairs).tolist()}}


def randomize(model, seed):
    """Weights that make every part count: logits of about ±10, attention neither flat nor on one token."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            random = torch.randn(weight.shape, generator=generator)
            if "embed_tokens" in name:
                weight.copy_(0.3 * random)
            elif weight.ndim == 2:
                weight.copy_((2.4 if "lm_head" in name else 1.3) * random / weight.shape[1] ** 0.5)
            else:
                weight.copy_(0.5 * random if name.endswith("bias") else 1.0 + 0.3 * random)


class Checkpoint:
    """A directory, and the tokens that both sides get."""

    def __init__(self, folder, config):
        self.folder = folder
        self.config = config
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(folder))
        randomize(model, seed=5)
        weights = {name: weight.numpy() for name, weight in model.state_dict().items()}
        if config["tie_word_embeddings"]:
            weights.pop("lm_head.weight", None)
        if folder.name in APART:
            random = np.random.default_rng(7).standard_normal((VOCABULARY, config["hidden_size"]))
            weights["lm_head.weight"] = (2.4 * random / config["hidden_size"] ** 0.5).astype(np.float32)
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        self.documents = folder / "documents.safetensors"
        self.tokens = np.random.default_rng(11).integers(0, VOCABULARY, TOKENS).astype(np.int32)
        save_file({"random": self.tokens}, self.documents, {"format": "longrope-documents/1",
                                                            "tokenizer_digest": "byte-level", "source": "random"})

    def variant(self, config):
        """The same weights under another config."""
        other = Checkpoint.__new__(Checkpoint)
        other.folder = self.folder.parent / (self.folder.name + "-variant")
        other.config, other.documents, other.tokens = config, self.documents, self.tokens
        if not other.folder.exists():
            other.folder.mkdir()
            (other.folder / "model.safetensors").hardlink_to(self.folder / "model.safetensors")
        (other.folder / "config.json").write_text(json.dumps(config))
        return other

    def transformers_model(self, dtype=torch.float32, windows=False):
        config = transformers.AutoConfig.from_pretrained(self.folder)
        if not windows and hasattr(config, "sliding_window"):
            config.sliding_window = None
            if getattr(config, "layer_types", None) is not None:
                config.layer_types = ["full_attention"] * config.num_hidden_layers
        return transformers.AutoModelForCausalLM.from_pretrained(self.folder, config=config, dtype=dtype,
                                                                 attn_implementation="eager").eval()

    def ours(self, length, *arguments, dtype="fp32"):
        """(logits, NLL sum) of the worker."""
        out = self.folder / "ours.safetensors"
        report = longrope("score", "--model", self.folder, "--documents", self.documents, "--length", length,
                          "--angles", "hf_fp32", "--dtype", dtype, "--threads", 2, "--logits-out", out, "--json",
                          *arguments).stdout
        return load_file(out)["logits"], json.loads(report)["total"]["nll_sum"]


def logits_of(model, tokens):
    with torch.inference_mode():
        return model(torch.from_numpy(tokens.astype(np.int64))[None]).logits[0].float().numpy()


def nll_sum(logits, tokens):
    rows = torch.from_numpy(logits[:-1]).double()
    return torch.nn.functional.cross_entropy(rows, torch.from_numpy(tokens[1:].astype(np.int64)),
                                             reduction="sum").item()


def assert_same(ours, theirs):
    assert ours.shape == theirs.shape
    assert np.abs(theirs).max() > 3.0  # else the tolerance would be no test
    assert np.abs(ours - theirs).max() <= MAX_DIFFERENCE


class RescaledRotaryEmbedding(torch.nn.Module):
    """Equation 3 of the LongRoPE paper in double precision, in place of a model's rotary embedding."""

    def __init__(self, theta, factors, n_hat, attention_factor):
        super().__init__()
        pairs = len(factors)
        self.frequencies = theta ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
        self.factors = torch.tensor(factors, dtype=torch.float64)
        self.n_hat = n_hat
        self.attention_factor = attention_factor

    def forward(self, hidden, position_ids=None, **_):
        positions = position_ids[0].double()[:, None]
        keeps = positions < self.n_hat
        angles = positions * torch.where(keeps, self.frequencies, self.frequencies / self.factors)
        magnitude = torch.where(keeps, 1.0, self.attention_factor)
        both = torch.cat([angles, angles], dim=-1)
        return tuple((part * magnitude).to(hidden.dtype)[None] for part in (both.cos(), both.sin()))


@pytest.fixture(scope="module", params=list(FAMILIES))
def checkpoint(request, tmp_path_factory):
    return Checkpoint(tmp_path_factory.mktemp("families") / request.param, FAMILIES[request.param])


def test_the_model_as_it_is(checkpoint):
    model = checkpoint.transformers_model()
    for length in LENGTHS:
        ours, nll = checkpoint.ours(length)
        theirs = logits_of(model, checkpoint.tokens[:length])
        assert_same(ours, theirs)
        assert nll == pytest.approx(nll_sum(theirs, checkpoint.tokens[:length]), rel=1e-5)
    first = logits_of(model, checkpoint.tokens[:1])
    assert_same(checkpoint.ours(2)[0][:1], first)


def test_an_lm_head_beside_a_tie_is_said(tmp_path):
    apart = Checkpoint(tmp_path / "smollm2-apart", FAMILIES["smollm2-apart"])
    done = longrope("score", "--model", apart.folder, "--documents", apart.documents, "--length", 37)
    assert "has an lm_head that differs from its embedding" in done.stderr
    tied = Checkpoint(tmp_path / "smollm2", FAMILIES["smollm2"])
    done = longrope("score", "--model", tied.folder, "--documents", tied.documents, "--length", 37)
    assert "lm_head" not in done.stderr


def test_bfloat16(checkpoint):
    """Over enough tokens for the roundings of both sides to average out."""
    for variant in (checkpoint, checkpoint.variant(carrying_longrope(checkpoint.config))):
        tokens = variant.tokens[:LENGTHS[-1]]
        theirs = nll_sum(logits_of(variant.transformers_model(dtype=torch.bfloat16), tokens), tokens)
        assert variant.ours(len(tokens), dtype="bf16")[1] == pytest.approx(theirs, rel=MAX_NLL_DIFFERENCE)


def test_bfloat16_weights_at_every_length(checkpoint):
    """transformers with the same rounded weights, in float32: its own bfloat16 roundings reach 0.2 % at 64 tokens."""
    model = checkpoint.transformers_model(dtype=torch.bfloat16).float()
    for length in LENGTHS:
        theirs = nll_sum(logits_of(model, checkpoint.tokens[:length]), checkpoint.tokens[:length])
        assert checkpoint.ours(length, dtype="bf16")[1] == pytest.approx(theirs, rel=MAX_NLL_DIFFERENCE)


def test_longrope_factors_of_the_checkpoint(checkpoint):
    """Short factors up to and including the original length, long ones beyond it, one attention factor."""
    carrying = checkpoint.variant(carrying_longrope(checkpoint.config))
    model = carrying.transformers_model()
    for length in (37, ORIGINAL, ORIGINAL + 1, 2 * ORIGINAL):
        assert_same(carrying.ours(length)[0], logits_of(model, carrying.tokens[:length]))


@pytest.mark.parametrize("n_hat", [0, 20])
def test_factors_of_a_file_replace_the_models(checkpoint, n_hat):
    factors = np.linspace(1.0, 6.0, pairs_of(checkpoint.config)).tolist()
    file = checkpoint.folder / "factors.json"
    file.write_text(json.dumps({"schema": "longrope-factors/1", "factors": [
        {"id": "test", "target_len": 128, "lambda": factors, "n_hat": n_hat,
         "mscale": {"policy": "value", "value": 1.13}}]}))
    model = checkpoint.transformers_model()
    model.model.rotary_emb = RescaledRotaryEmbedding(checkpoint.config["rope_theta"], factors, n_hat, 1.13)
    for length in (37, 2 * ORIGINAL):
        assert_same(checkpoint.ours(length, "--factors", file)[0], logits_of(model, checkpoint.tokens[:length]))


@pytest.mark.parametrize("name", WINDOWED)
def test_sliding_windows_are_kept_on_request(tmp_path, name):
    checkpoint = Checkpoint(tmp_path / name, FAMILIES[name])
    model = checkpoint.transformers_model(windows=True)
    for length in (24, 25, 512):
        assert_same(checkpoint.ours(length, "--sliding-window")[0], logits_of(model, checkpoint.tokens[:length]))
    everything = logits_of(checkpoint.transformers_model(), checkpoint.tokens)
    assert np.abs(everything - logits_of(model, checkpoint.tokens)).max() > 0.1


EXPORTED = {name: FAMILIES[name] for name in ("smollm2-apart", "mistral", "qwen2-windowed", "qwen3", "phi3", "phi4-mini",
                                              "llama3.1", "llama-linear", "qwen2.5-yarn")}
EXPORTED["llama2-longrope"] = carrying_longrope(FAMILIES["llama2"])
REACHED = {"llama3.1": 512, "llama-linear": 4 * ORIGINAL, "qwen2.5-yarn": 4 * ORIGINAL, "llama2-longrope": 8 * ORIGINAL}


@pytest.mark.parametrize("name", list(EXPORTED))
def test_exports_compute_the_workers_logits(tmp_path, name):
    """Beyond the length that the model reaches by itself the searched factors, up to it what it has already."""
    checkpoint = Checkpoint(tmp_path / name, EXPORTED[name])
    reached = REACHED.get(name, ORIGINAL)
    config = write_search(tmp_path / "search", length=2 * reached, population=2, iterations=0, seeds='["yarn"]',
                          policies='["su"]', documents=1, model=checkpoint.folder)
    database = tmp_path / "search.db"
    longrope("run", config, "--db", database, "--workers", 1)
    factor = best(database)["attention_factor"]
    assert factor > 1.05
    for target in ("hf5", "hf4"):
        if target == "hf4" and not PYTHON_4.exists():
            pytest.skip("NOT RUN: .venv-transformers4 is not installed (tools/install_dependencies.sh test)")
        exported = tmp_path / target
        longrope("export", "--db", database, "--model", checkpoint.folder, "--format", "hf", "--target", target,
                 "--out", exported, "--force")  # random weights lose as often as they win
        factors = exported / "longrope_factors.json"
        ours, _ = checkpoint.ours(2 * reached, "--factors", factors)
        if target == "hf5":
            model = transformers.AutoModelForCausalLM.from_pretrained(exported).eval()
            assert_same(ours, logits_of(model, checkpoint.tokens[:2 * reached]))
            short, _ = checkpoint.ours(reached, "--attention-factor", repr(factor))
            assert_same(short, logits_of(model, checkpoint.tokens[:reached]))
        else:
            save_file({"tokens": checkpoint.tokens[:2 * reached].astype(np.int64)}, tmp_path / "tokens.safetensors")
            script = ROOT / "tests" / "system" / "transformers_logits.py"
            done = subprocess.run([PYTHON_4, "-B", script, exported, tmp_path / "tokens.safetensors",
                                   tmp_path / "theirs.safetensors"], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            assert_same(ours, load_file(tmp_path / "theirs.safetensors")["logits"])
