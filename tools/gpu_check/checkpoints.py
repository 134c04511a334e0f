"""Shapes of the checkpoints that a run makes for itself, with random weights, and where it puts them."""

import contextlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
ORIGINAL = 512  # positions of the tiny families; shorter in a rehearsal
GIBIBYTE = 2**30


@dataclass(frozen=True)
class Shape:
    """A Llama. `tokens_per_second`: a cautious guess for one H100, by which it is decided whether the time suffices."""

    name: str
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    key_value_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    tokens_per_second: float

    def config(self, layers=None):
        return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": self.vocabulary,
                "hidden_size": self.hidden_size, "intermediate_size": self.intermediate_size,
                "num_hidden_layers": layers or self.layers, "num_attention_heads": self.heads,
                "num_key_value_heads": self.key_value_heads, "head_dim": self.head_dim, "hidden_act": "silu",
                "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
                "tie_word_embeddings": self.tied, "torch_dtype": "bfloat16", "bos_token_id": 0, "eos_token_id": 1}

    def weight_bytes(self, layers=None):
        """In bfloat16."""
        layer = (self.hidden_size * self.head_dim * 2 * (self.heads + self.key_value_heads)
                 + 3 * self.hidden_size * self.intermediate_size)
        ends = self.vocabulary * self.hidden_size * (1 if self.tied else 2)
        return 2 * ((layers or self.layers) * layer + ends)


# Llama 3.2 1B and Llama 3.1 8B.
LLAMA_1B = Shape("1B", 2048, 8192, 16, 32, 8, 64, 128256, True, 30000)
LLAMA_8B = Shape("8B", 4096, 14336, 32, 32, 8, 128, 128256, False, 8000)
REHEARSED = [Shape("1B", 64, 128, 2, 4, 2, 16, 300, True, 1e9), Shape("8B", 64, 112, 4, 4, 2, 16, 300, False, 1e9)]


def families(rehearse):
    """config.json of three tiny families, as transformers 4 wrote them, with every kind of attention that the published
    models have: grouped queries, normalised queries and keys, sliding windows; scaled by longrope and by yarn."""
    original = 64 if rehearse else ORIGINAL
    head_dim = 16 if rehearse else 64
    base = {"vocab_size": 258, "hidden_size": 64 if rehearse else 512, "intermediate_size": 112 if rehearse else 1408,
            "num_hidden_layers": 2 if rehearse else 4, "num_attention_heads": 4 if rehearse else 8,
            "num_key_value_heads": 2, "head_dim": head_dim, "max_position_embeddings": 4 * original,
            "original_max_position_embeddings": original, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "hidden_act": "silu", "tie_word_embeddings": False, "torch_dtype": "float32", "bos_token_id": 256,
            "eos_token_id": 257}

    def longrope(pairs):
        return {"rope_type": "longrope", "short_factor": [1.0] * pairs,
                "long_factor": [1.0 + 8.0 * pair / (pairs - 1) for pair in range(pairs)]}

    wide = 2 * head_dim
    return {
        "llama": base | {"architectures": ["LlamaForCausalLM"], "model_type": "llama",
                         "rope_scaling": longrope(head_dim // 2)},
        "qwen3": base | {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": wide,
                         "rope_theta": 1000000.0,
                         "rope_scaling": {"rope_type": "yarn", "factor": 4.0,
                                          "original_max_position_embeddings": original}},
        "mistral": base | {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "head_dim": wide,
                           "sliding_window": original // 2, "rope_scaling": longrope(wide // 2)},
    }


@contextlib.contextmanager
def folder_for(size):
    """A folder for `size` bytes, removed afterwards: in memory where that has room, or among temporary files."""
    place = None
    with contextlib.suppress(OSError):
        if shutil.disk_usage(SHARED_MEMORY).free > size + GIBIBYTE:
            place = SHARED_MEMORY
    with tempfile.TemporaryDirectory(prefix="longrope-gpu-", dir=place) as name:
        yield Path(name)
