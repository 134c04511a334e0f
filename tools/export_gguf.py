#!/usr/bin/env python3
"""Writes searched factors into a copy of a GGUF file, for llama.cpp and what is built on it.

CONFIG is the config.json of `longrope export --engine llama.cpp` or `--format hf` (or of `longrope finetune`). Two tables
of rope_type longrope become the tensors rope_factors_long and rope_factors_short with their keys; a plain block (yarn,
linear, or a changed rope_theta alone) becomes keys only. The scaling that BASE carries is left out and named, because
CONFIG holds it already and llama.cpp would apply it a second time: its other rope keys (linear, YaRN) and the tensor
rope_freqs (Llama 3.1 to 3.3). Everything else stays as it is in BASE, which must be the same model. Without BASE the file
holds the tensors and keys alone, to be merged by other tools. tools/import_gguf.py reads tensors back.

llama.cpp chooses one table for each context: the long one when its sequences may be longer than the original length. It
applies such tensors for the architectures llama, phi3, phimoe, minicpm, minicpm3, deci, apertus, granite, granitemoe and
mistral3; of any other model that has them it refuses the file or, of pangu-embed, ignores them, so BASE must be of one of
these. Plain blocks are keys of every model: also of qwen2, qwen3 (both with experts too), gemma, gemma2, gemma3, smollm3,
arcee and seed_oss. The betas of YaRN llama.cpp reads of mistral3 only; where they are not 32 and 1 the options that every
start needs are printed.

    tools/export_gguf.py my-llama-8k/config.json --base my-llama-q8_0.gguf --out my-llama-8k-q8_0.gguf
"""

import argparse
import json
import math
import os
import sys
from pathlib import Path

import gguf
import numpy as np

from document_preparation.input_error import InputError, exit_code_of

TENSORS = {"rope_factors_long.weight": "long_factor", "rope_factors_short.weight": "short_factor"}
SINGLE_TABLE = "rope_freqs.weight"  # llama.cpp takes it in place of both; Llama 3.1 to 3.3 carry their scaling in it
OUTPUT = "output.weight"  # lm_head
DEFAULT_BASE_FREQUENCY = 10000.0  # what llama.cpp assumes without the key
LENGTH, BASE_FREQUENCY = "{arch}.context_length", "{arch}.rope.freq_base"
# All keys of a base that change angles or the attention factor begin so: rope.scaling.factor and its older name
# rope.scale_linear, rope.scaling.yarn_*, … The exporter sets those that belong to its factors; no other may stay.
ROPE_KEYS = "{arch}.rope."
# Keys below ROPE_KEYS that are no scaling. Granite rotates nothing where rope.scaling.finetuned is false.
KEPT_KEYS = ("{arch}.rope.dimension_count", "{arch}.rope.dimension_sections", "{arch}.rope.freq_base_swa",
             "{arch}.rope.scaling.finetuned")
# What is known of llama.cpp was read at 0c1e570 (src/models). For these architectures it creates the tensors
# rope_factors_long and rope_factors_short and its graph takes them (get_rope_factors; granitemoe and minicpm have the
# graph of granite, phimoe that of phi3). Its loader refuses a file with tensors that it did not create. Not pangu-embed,
# whose tensors are created and never used, and not refact, which has no rotary embedding.
ARCHITECTURES = ("llama", "phi3", "phimoe", "minicpm", "minicpm3", "deci", "apertus", "granite", "granitemoe", "mistral3")
# Architectures whose graph takes freq_base, freq_scale, ext_factor and attn_factor as llama_context computes them.
PLAIN_ARCHITECTURES = ("llama", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "gemma", "gemma2", "gemma3", "smollm3", "arcee",
                       "seed_oss", "deci", "apertus", "minicpm", "granite", "granitemoe", "mistral3")
READS_BETAS = ("mistral3",)  # of the above; llama-model.cpp leaves 32 and 1
# src/models/gemma3.cpp rotates layers with a window by other angles, but with the attn_factor of all.
SHARES_ATTENTION_FACTOR = ("gemma3",)
# src/models/mistral3.cpp: queries are scaled by a formula in the original context length.
TEMPERATURE = "{arch}.attention.temperature_scale"
DEFAULT_BETAS = (32.0, 1.0)
LARGEST_UINT32 = 2**32 - 1
FLOAT32 = np.finfo(np.float32)


def is_positive(value: object) -> bool:
    """Whether `value` is a positive number and still one as a float32, the type that GGUF stores it in."""
    return (isinstance(value, int | float) and not isinstance(value, bool)
            and float(FLOAT32.tiny) <= value <= float(FLOAT32.max))


def is_integer(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def rope_parameters(config: object, path: Path) -> tuple[dict, dict]:
    """The configuration of the language model, and its rope parameters: those of layers without a window."""
    if isinstance(config, dict) and isinstance(config.get("text_config"), dict):
        config = config["text_config"]
    rope = (config.get("rope_parameters") or config.get("rope_scaling") or {}) if isinstance(config, dict) else None
    if isinstance(rope, dict) and isinstance(rope.get("full_attention"), dict):
        windowed = rope.get("sliding_attention")
        if isinstance(windowed, dict) and windowed.get("rope_type", "default") != "default":
            raise InputError(f"layers with a window must have rope_type default: {windowed['rope_type']!r} ({path})")
        rope = rope["full_attention"]
    if not isinstance(rope, dict):
        raise InputError(f"a configuration must have rope parameters ({path})")
    return config, rope


def read_config(path: Path) -> dict:
    """The rope parameters and lengths of a config.json with longrope factors or a plain block."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"a configuration must be readable JSON: {error} ({path})") from error
    config, rope = rope_parameters(config, path)
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind not in ("longrope", "yarn", "linear", "default"):
        raise InputError(f"a configuration must have rope_type longrope, yarn, linear or default, which llama.cpp has keys "
                         f"for: {kind!r} ({path})")
    found = {"rope_type": kind, "tie_word_embeddings": config.get("tie_word_embeddings"),
             "max_position_embeddings": config.get("max_position_embeddings"),
             "original_max_position_embeddings": config.get("original_max_position_embeddings",
                                                            rope.get("original_max_position_embeddings")),
             "attention_factor": rope.get("attention_factor"), "factor": rope.get("factor"),
             "beta_fast": rope.get("beta_fast", DEFAULT_BETAS[0]), "beta_slow": rope.get("beta_slow", DEFAULT_BETAS[1]),
             "rope_theta": rope.get("rope_theta", config.get("rope_theta")),
             "long_factor": rope.get("long_factor"), "short_factor": rope.get("short_factor")}
    lengths = ["max_position_embeddings", "original_max_position_embeddings"]
    numbers = ["rope_theta"]
    if kind in ("longrope", "yarn"):
        numbers.append("attention_factor")
    if kind in ("yarn", "linear"):
        numbers.append("factor")
    if kind == "yarn":
        numbers += ["beta_fast", "beta_slow"]
    for key in lengths:
        if key == "original_max_position_embeddings" and found[key] is None and kind not in ("longrope", "yarn"):
            continue
        if not is_integer(found[key], 1, LARGEST_UINT32):
            raise InputError(f"{key} must be an integer from 1 to {LARGEST_UINT32}: {found[key]!r} ({path})")
    for key in numbers:
        if not is_positive(found[key]):
            raise InputError(f"{key} must be a positive float32: {found[key]!r} ({path})")
    if "factor" in numbers and found["factor"] < 1:
        raise InputError(f"factor must be at least 1: {found['factor']!r} ({path})")
    if kind == "yarn" and rope.get("truncate", True) is not True:
        raise InputError(f"truncate must be true, because llama.cpp truncates the band of yarn: {rope['truncate']!r} "
                         f"({path})")
    if kind == "longrope":
        found["rotated"] = 2 * pairs_of_tables(found, path)
    else:
        found["rotated"] = rotated_channels(config, rope, path)
    return found


def pairs_of_tables(found: dict, path: Path) -> int:
    for key in TENSORS.values():
        if not isinstance(found[key], list) or not found[key]:
            raise InputError(f"{key} must be a list of factors: {found[key]!r} ({path})")
        for pair, factor in enumerate(found[key]):
            if not is_positive(factor):
                raise InputError(f"{key} must hold positive float32 numbers: pair {pair} is {factor!r} ({path})")
    if len(found["long_factor"]) != len(found["short_factor"]):
        raise InputError(f"long_factor and short_factor must have one length: {len(found['long_factor'])} and "
                         f"{len(found['short_factor'])} ({path})")
    return len(found["long_factor"])


def rotated_channels(config: dict, rope: dict, path: Path) -> int:
    """How many channels of a head the model rotates."""
    head_dim = config.get("head_dim")
    if head_dim is None:
        for key in ("hidden_size", "num_attention_heads"):
            if not is_integer(config.get(key), 1, LARGEST_UINT32):
                raise InputError(f"{key} must be an integer from 1 to {LARGEST_UINT32}: {config.get(key)!r} ({path})")
        head_dim = config["hidden_size"] // config["num_attention_heads"]
    part = rope.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0))
    if not is_integer(head_dim, 1, LARGEST_UINT32) or not is_positive(part) or part > 1:
        raise InputError(f"head_dim and partial_rotary_factor must be positive, the second at most 1: {head_dim!r} and "
                         f"{part!r} ({path})")
    return int(head_dim * part)


def yarn_attn_factor(config: dict) -> float:
    """rope.scaling.attn_factor of yarn: llama.cpp multiplies it by 0.1 ln(factor) + 1 (ggml's rope_yarn)."""
    return config["attention_factor"] / (0.1 * math.log(config["factor"]) + 1)


def band(config: dict, betas: tuple[float, float]) -> tuple[int, int]:
    """The pairs between which llama.cpp ramps (ggml_rope_yarn_corr_dims)."""
    def corner(turns: float) -> float:
        length = config["original_max_position_embeddings"]
        return config["rotated"] * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(config["rope_theta"]))

    return max(0, math.floor(corner(betas[0]))), min(config["rotated"] - 1, math.ceil(corner(betas[1])))


def new_keys(config: dict, architecture: str) -> dict[str, tuple[object, gguf.GGUFValueType]]:
    rope, kind = gguf.Keys.Rope, config["rope_type"]
    keys = {
        LENGTH: (config["max_position_embeddings"], gguf.GGUFValueType.UINT32),
        BASE_FREQUENCY: (config["rope_theta"], gguf.GGUFValueType.FLOAT32),
        rope.SCALING_TYPE: ("none" if kind == "default" else kind, gguf.GGUFValueType.STRING),
    }
    if kind == "longrope":
        keys[rope.DIMENSION_COUNT] = (config["rotated"], gguf.GGUFValueType.UINT32)
        keys[rope.SCALING_ATTN_FACTOR] = (config["attention_factor"], gguf.GGUFValueType.FLOAT32)
    if config["original_max_position_embeddings"] is not None:
        keys[rope.SCALING_ORIG_CTX_LEN] = (config["original_max_position_embeddings"], gguf.GGUFValueType.UINT32)
    if kind in ("yarn", "linear"):
        keys[rope.SCALING_FACTOR] = (config["factor"], gguf.GGUFValueType.FLOAT32)
    if kind == "yarn":
        keys[rope.SCALING_ATTN_FACTOR] = (yarn_attn_factor(config), gguf.GGUFValueType.FLOAT32)
        keys[rope.SCALING_YARN_BETA_FAST] = (config["beta_fast"], gguf.GGUFValueType.FLOAT32)
        keys[rope.SCALING_YARN_BETA_SLOW] = (config["beta_slow"], gguf.GGUFValueType.FLOAT32)
    return {key.format(arch=architecture): value for key, value in keys.items()}


def read_gguf(path: Path) -> gguf.GGUFReader:
    try:
        return gguf.GGUFReader(path, "r")
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise InputError(f"a model must be a readable GGUF file: {error} ({path})") from error


def value_of(base: gguf.GGUFReader, key: str) -> object:
    field = base.get_field(key)
    try:
        return None if field is None else field.contents()
    except (ValueError, IndexError) as error:
        raise InputError(f"{key} must be readable: {error}") from error


def integer(reader: gguf.GGUFReader, key: str, low: int, high: int, path: Path) -> int:
    value = value_of(reader, key)
    if not is_integer(value, low, high):
        raise InputError(f"{key} must be an integer from {low} to {high}: {value!r} ({path})")
    return value


def positive(reader: gguf.GGUFReader, key: str, default: float, path: Path) -> float:
    value = value_of(reader, key)
    if value is None:
        return default
    if not is_positive(value):
        raise InputError(f"{key} must be a positive number: {value!r} ({path})")
    return float(str(np.float32(value)))


def require_same_model(base: gguf.GGUFReader, architecture: object, config: dict, path: Path) -> None:
    if value_of(base, gguf.Keys.Split.LLM_KV_SPLIT_COUNT) not in (None, 0, 1):
        raise InputError(f"the base must be one file: it is a part of several; merge them with llama.cpp's gguf-split "
                         f"({path})")
    kind = config["rope_type"]
    if kind == "longrope" and architecture not in ARCHITECTURES:
        raise InputError(f"the base must be of an architecture that llama.cpp gives factors to, one of "
                         f"{', '.join(ARCHITECTURES)}: {architecture!r} ({path}); others take yarn or a changed "
                         f"rope_theta, as a search in those spaces finds them")
    if kind != "longrope" and architecture not in PLAIN_ARCHITECTURES:
        raise InputError(f"the base must be of an architecture whose rope keys were looked up in llama.cpp, one of "
                         f"{', '.join(PLAIN_ARCHITECTURES)}: {architecture!r} ({path})")
    require_same_temperature(base, architecture, config, path)
    if kind == "yarn" and architecture in SHARES_ATTENTION_FACTOR and not math.isclose(yarn_attn_factor(config), 1,
                                                                                       rel_tol=1e-6):
        usual = 0.1 * math.log(config["factor"]) + 1
        raise InputError(f"attention_factor must be that of yarn, {usual:.6g}, because llama.cpp gives {architecture} "
                         f"another one in layers with a window too: {config['attention_factor']} ({path})")
    dimension_count = gguf.Keys.Rope.DIMENSION_COUNT.format(arch=architecture)
    key_length = gguf.Keys.Attention.KEY_LENGTH.format(arch=architecture)
    if value_of(base, dimension_count) is not None:
        rotated = integer(base, dimension_count, 1, LARGEST_UINT32, path)
    elif value_of(base, key_length) is not None:  # llama.cpp rotates whole heads then, of this width or equal parts
        rotated = integer(base, key_length, 1, LARGEST_UINT32, path)
    else:
        heads = integer(base, gguf.Keys.Attention.HEAD_COUNT.format(arch=architecture), 1, LARGEST_UINT32, path)
        width = integer(base, gguf.Keys.LLM.EMBEDDING_LENGTH.format(arch=architecture), 1, LARGEST_UINT32, path)
        rotated = width // heads
    if rotated != config["rotated"]:
        raise InputError(f"the base must have {config['rotated']} rotated channels, 2 for each factor: {rotated} ({path})")
    if kind != "default" and not (kind == "yarn" and config["factor"] == 1):  # those change rope_theta
        require_same_theta(base, architecture, config, path)
    if config["tie_word_embeddings"] is False and all(tensor.name != OUTPUT for tensor in base.tensors):
        raise InputError(f"the base must have {OUTPUT}, because tie_word_embeddings of the configuration is false: "
                         f"llama.cpp would take the embedding in its place ({path})")


def require_same_theta(base: gguf.GGUFReader, architecture: str, config: dict, path: Path) -> None:
    frequency = positive(base, BASE_FREQUENCY.format(arch=architecture), DEFAULT_BASE_FREQUENCY, path)
    if not math.isclose(frequency, config["rope_theta"], rel_tol=1e-5):
        raise InputError(f"the base must have the rope_theta of the configuration, {config['rope_theta']}: {frequency} "
                         f"({path})")


def require_same_temperature(base: gguf.GGUFReader, architecture: str, config: dict, path: Path) -> None:
    """A model that scales its queries by the original context length must keep that length."""
    if value_of(base, TEMPERATURE.format(arch=architecture)) in (None, 0, 0.0):
        return
    key = gguf.Keys.Rope.SCALING_ORIG_CTX_LEN.format(arch=architecture)
    own, wanted = value_of(base, key), config["original_max_position_embeddings"]
    if own != wanted:
        raise InputError(f"original_max_position_embeddings must be {key} of the base, {own!r}, which scales its queries: "
                         f"{wanted!r} ({path})")


def report_betas(architecture: str, config: dict) -> None:
    betas = config["beta_fast"], config["beta_slow"]
    if config["rope_type"] != "yarn" or config["factor"] == 1 or architecture in READS_BETAS:
        return
    if band(config, betas) != band(config, DEFAULT_BETAS):
        print(f"export_gguf: warning: llama.cpp does not read the betas of {architecture}: every start needs "
              f"--yarn-beta-fast {betas[0]} --yarn-beta-slow {betas[1]}", file=sys.stderr)


def report_left_out(base: gguf.GGUFReader, dropped: list[str], config: dict, path: Path) -> None:
    """Says which scaling of the base is not copied, and when it is not the one that the factors were made over."""
    for key in dropped:
        print(f"export_gguf: left out of the copy: {key} = {value_of(base, key)!r}; the factors replace it",
              file=sys.stderr)
    for tensor in base.tensors:
        if tensor.name != SINGLE_TABLE:
            continue
        print(f"export_gguf: left out of the copy: {SINGLE_TABLE}; the factors hold its scaling", file=sys.stderr)
        if config["rope_type"] != "longrope":
            continue
        short = np.asarray(config["short_factor"])
        if tensor.data.shape != short.shape or not np.allclose(tensor.data, short, rtol=1e-4):
            print(f"export_gguf: warning: {SINGLE_TABLE} of the base differs from short_factor, the table for short "
                  f"texts: the base scales them in another way than the configuration ({path})", file=sys.stderr)


def export(config: dict, base_path: Path | None, architecture: str, out: Path) -> None:
    base = None if base_path is None else read_gguf(base_path)
    if base is not None:
        architecture = value_of(base, gguf.Keys.General.ARCHITECTURE)
        require_same_model(base, architecture, config, base_path)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    writer = gguf.GGUFWriter(temporary, architecture, endianess=gguf.GGUFEndian.LITTLE if base is None else base.endianess)
    if base is not None:
        writer.data_alignment = base.alignment  # general.alignment is among the keys that are copied
    keys = new_keys(config, architecture)
    dropped = [name for name in (base.fields if base is not None else [])
               if name.startswith(ROPE_KEYS.format(arch=architecture)) and name not in keys
               and name not in [key.format(arch=architecture) for key in KEPT_KEYS]]
    for field in base.fields.values() if base is not None else []:
        own = field.name == gguf.Keys.General.ARCHITECTURE or field.name.startswith("GGUF.")  # the writer adds these
        if not own and field.name not in keys and field.name not in dropped:
            array = field.types[0] == gguf.GGUFValueType.ARRAY
            writer.add_key_value(field.name, value_of(base, field.name), field.types[0],
                                 sub_type=field.types[-1] if array else None)
    for key, (value, kind) in keys.items():
        writer.add_key_value(key, value, kind)
    tensors = []
    if base is not None:
        tensors = [tensor for tensor in base.tensors if tensor.name not in TENSORS and tensor.name != SINGLE_TABLE]
    for tensor in tensors:
        writer.add_tensor_info(tensor.name, tensor.data.shape, tensor.data.dtype, tensor.data.nbytes, tensor.tensor_type)
    factors = {}
    if config["rope_type"] == "longrope":
        factors = {name: np.asarray(config[key], dtype=np.float32) for name, key in TENSORS.items()}
    for name, values in factors.items():
        writer.add_tensor_info(name, values.shape, values.dtype, values.nbytes, gguf.GGMLQuantizationType.F32)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor in tensors:
            writer.write_tensor_data(tensor.data, tensor_endianess=base.endianess)
        for values in factors.values():
            writer.write_tensor_data(values)
        writer.close()
        os.replace(temporary, out)  # whole or not at all
    finally:
        temporary.unlink(missing_ok=True)
    if base is not None:
        report_left_out(base, dropped, config, base_path)
    report_betas(architecture, config)
    print(out)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, metavar="CONFIG", help="config.json with the factors")
    parser.add_argument("--base", type=Path, metavar="FILE", help="GGUF file of the model to copy")
    parser.add_argument("--architecture", default="llama", metavar="NAME",
                        help="general.architecture without a base (default: llama)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="GGUF file to write")
    arguments = parser.parse_args()
    return exit_code_of("export_gguf", lambda: export(read_config(arguments.config), arguments.base,
                                                      arguments.architecture, arguments.out))


if __name__ == "__main__":
    sys.exit(main())
