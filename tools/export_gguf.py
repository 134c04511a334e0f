#!/usr/bin/env python3
"""Writes searched factors into a copy of a GGUF file, for llama.cpp and what is built on it.

CONFIG is the config.json of `longrope export --format hf` (or of `longrope finetune`). The copy gets its two tables as
the tensors rope_factors_long and rope_factors_short, and the keys that go with them. The scaling that BASE carries is
left out and named, because the factors of CONFIG hold it already and llama.cpp would apply it a second time: its
other rope keys (linear, YaRN) and the tensor rope_freqs (Llama 3.1 to 3.3). Everything else stays as it is in BASE,
which must be the same model. Without BASE the file holds the tensors and keys alone, to be merged by other tools.
tools/import_gguf.py reads them back.

llama.cpp chooses one table for each context: the long one when its sequences may be longer than the original length.
It knows such factors for the architectures llama, phi3, minicpm, minicpm3, deci and apertus, and refuses to load any
other model that has them: BASE must be of one of these.

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
# Architectures for which llama.cpp creates the tensors rope_factors_long and rope_factors_short (load_tensors, later
# load_arch_tensors). Its loader refuses a file with tensors that it did not create.
ARCHITECTURES = ("llama", "phi3", "minicpm", "minicpm3", "deci", "apertus")
LARGEST_UINT32 = 2**32 - 1
FLOAT32 = np.finfo(np.float32)


def is_positive(value: object) -> bool:
    """Whether `value` is a positive number and still one as a float32, the type that GGUF stores it in."""
    return (isinstance(value, int | float) and not isinstance(value, bool)
            and float(FLOAT32.tiny) <= value <= float(FLOAT32.max))


def is_integer(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def read_config(path: Path) -> dict:
    """The rope parameters and lengths of a config.json with longrope factors."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"a configuration must be readable JSON: {error} ({path})") from error
    rope = config.get("rope_parameters") or config.get("rope_scaling") if isinstance(config, dict) else None
    if not isinstance(rope, dict) or rope.get("rope_type", rope.get("type")) != "longrope":
        raise InputError(f"a configuration must have rope_type longrope ({path})")
    found = {"tie_word_embeddings": config.get("tie_word_embeddings"),
             "max_position_embeddings": config.get("max_position_embeddings"),
             "original_max_position_embeddings": config.get("original_max_position_embeddings"),
             "attention_factor": rope.get("attention_factor"),
             "rope_theta": rope.get("rope_theta", config.get("rope_theta")),
             "long_factor": rope.get("long_factor"), "short_factor": rope.get("short_factor")}
    for key in ("max_position_embeddings", "original_max_position_embeddings"):
        if not is_integer(found[key], 1, LARGEST_UINT32):
            raise InputError(f"{key} must be an integer from 1 to {LARGEST_UINT32}: {found[key]!r} ({path})")
    for key in ("attention_factor", "rope_theta"):
        if not is_positive(found[key]):
            raise InputError(f"{key} must be a positive float32: {found[key]!r} ({path})")
    for key in TENSORS.values():
        if not isinstance(found[key], list) or not found[key]:
            raise InputError(f"{key} must be a list of factors: {found[key]!r} ({path})")
        for pair, factor in enumerate(found[key]):
            if not is_positive(factor):
                raise InputError(f"{key} must hold positive float32 numbers: pair {pair} is {factor!r} ({path})")
    if len(found["long_factor"]) != len(found["short_factor"]):
        raise InputError(f"long_factor and short_factor must have one length: {len(found['long_factor'])} and "
                         f"{len(found['short_factor'])} ({path})")
    return found


def new_keys(config: dict, architecture: str) -> dict[str, tuple[object, gguf.GGUFValueType]]:
    rope = gguf.Keys.Rope
    keys = {
        LENGTH: (config["max_position_embeddings"], gguf.GGUFValueType.UINT32),
        BASE_FREQUENCY: (config["rope_theta"], gguf.GGUFValueType.FLOAT32),
        rope.DIMENSION_COUNT: (2 * len(config["long_factor"]), gguf.GGUFValueType.UINT32),
        rope.SCALING_TYPE: ("longrope", gguf.GGUFValueType.STRING),
        rope.SCALING_ATTN_FACTOR: (config["attention_factor"], gguf.GGUFValueType.FLOAT32),
        rope.SCALING_ORIG_CTX_LEN: (config["original_max_position_embeddings"], gguf.GGUFValueType.UINT32),
    }
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
    if architecture not in ARCHITECTURES:
        raise InputError(f"the base must be of an architecture that llama.cpp gives factors to, one of "
                         f"{', '.join(ARCHITECTURES)}: {architecture!r} ({path})")
    pairs = len(config["long_factor"])
    dimension_count = gguf.Keys.Rope.DIMENSION_COUNT.format(arch=architecture)
    if value_of(base, dimension_count) is None:  # then llama.cpp rotates whole heads
        heads = integer(base, gguf.Keys.Attention.HEAD_COUNT.format(arch=architecture), 1, LARGEST_UINT32, path)
        width = integer(base, gguf.Keys.LLM.EMBEDDING_LENGTH.format(arch=architecture), 1, LARGEST_UINT32, path)
        rotated = width // heads
    else:
        rotated = integer(base, dimension_count, 1, LARGEST_UINT32, path)
    if rotated != 2 * pairs:
        raise InputError(f"the base must have {2 * pairs} rotated channels, 2 for each factor: {rotated} ({path})")
    frequency = positive(base, BASE_FREQUENCY.format(arch=architecture), DEFAULT_BASE_FREQUENCY, path)
    if not math.isclose(frequency, config["rope_theta"], rel_tol=1e-5):
        raise InputError(f"the base must have the rope_theta of the configuration, {config['rope_theta']}: {frequency} "
                         f"({path})")
    if config["tie_word_embeddings"] is False and all(tensor.name != OUTPUT for tensor in base.tensors):
        raise InputError(f"the base must have {OUTPUT}, because tie_word_embeddings of the configuration is false: "
                         f"llama.cpp would take the embedding in its place ({path})")


def report_left_out(base: gguf.GGUFReader, dropped: list[str], config: dict, path: Path) -> None:
    """Says which scaling of the base is not copied, and when it is not the one that the factors were made over."""
    for key in dropped:
        print(f"export_gguf: left out of the copy: {key} = {value_of(base, key)!r}; the factors replace it",
              file=sys.stderr)
    for tensor in base.tensors:
        if tensor.name != SINGLE_TABLE:
            continue
        print(f"export_gguf: left out of the copy: {SINGLE_TABLE}; the factors hold its scaling", file=sys.stderr)
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
               if name.startswith(ROPE_KEYS.format(arch=architecture)) and name not in keys]
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
