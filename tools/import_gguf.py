#!/usr/bin/env python3
"""Reads the rescale factors of a GGUF file and writes the canonical factors file.

FILE has the tensors rope_factors_long and rope_factors_short, as llama.cpp's converter or tools/export_gguf.py write
them, or rope_freqs, the scaling of Llama 3.1 to 3.3. Where long and short differ, the canonical file has both and a
schedule: the short one up to the original length, the long one up to the context length. A scaling factor that
llama.cpp would apply beside the table is multiplied in. GGUF stores tables in float32; a factor becomes the shortest
decimal that gives the same float32.

    tools/import_gguf.py Phi-3.5-mini-instruct-Q4_K_M.gguf --out phi-3.5.json
"""

import argparse
import json
import os
import sys
from pathlib import Path

import gguf
import numpy as np

from document_preparation.input_error import InputError, exit_code_of
from export_gguf import (BASE_FREQUENCY, DEFAULT_BASE_FREQUENCY, LENGTH, SINGLE_TABLE, TENSORS, integer, positive,
                         read_gguf, value_of)

SMALLEST_DIM, LARGEST_DIM = 4, 65536  # channels of a head, as schemas/factors.schema.json allows them
LONGEST = 2**31
OLD_SCALING_FACTOR = "{arch}.rope.scale_linear"  # llama.cpp reads it where rope.scaling.factor is not there


def has_tensor(reader: gguf.GGUFReader, name: str) -> bool:
    return any(tensor.name == name for tensor in reader.tensors)


def scaling_beside_tables(reader: gguf.GGUFReader, architecture: str, path: Path) -> tuple[float, float]:
    """What llama.cpp (load_hparams, llama_context) multiplies into every lambda, and the attention factor."""
    def key(name: str) -> str:
        return name.format(arch=architecture)

    kind = value_of(reader, key(gguf.Keys.Rope.SCALING_TYPE))
    ext_factor = value_of(reader, key(gguf.Keys.Rope.SCALING_YARN_EXT_FACTOR))
    is_set = isinstance(ext_factor, int | float) and ext_factor >= 0  # negative: not set
    is_yarn = ext_factor != 0 if is_set else kind == "yarn"
    if is_yarn:
        raise InputError(f"a GGUF file must not carry YaRN scaling beside its factors, which would mix them with others: "
                         f"{key(gguf.Keys.Rope.SCALING_TYPE)} is {kind!r} ({path})")
    factor = 1.0
    if kind != "none":
        for name in (OLD_SCALING_FACTOR, gguf.Keys.Rope.SCALING_FACTOR):
            if value_of(reader, key(name)) not in (None, 0, 0.0):
                factor = positive(reader, key(name), 1.0, path)
    # llama.cpp takes 1 where a converter left the key out.
    attention_factor = positive(reader, key(gguf.Keys.Rope.SCALING_ATTN_FACTOR), 1.0, path)
    yarn_factor = value_of(reader, key(gguf.Keys.Rope.SCALING_YARN_ATTN_FACTOR))
    if isinstance(yarn_factor, int | float) and yarn_factor >= 0:
        attention_factor *= positive(reader, key(gguf.Keys.Rope.SCALING_YARN_ATTN_FACTOR), 1.0, path)
    return factor, attention_factor


def table(reader: gguf.GGUFReader, name: str, path: Path) -> list[float]:
    found = [tensor for tensor in reader.tensors if tensor.name == name]
    if len(found) != 1:
        raise InputError(f"a GGUF file must have one tensor {name}: {len(found)} ({path})")
    tensor = found[0]
    if tensor.tensor_type != gguf.GGMLQuantizationType.F32 or tensor.data.ndim != 1 or len(tensor.data) == 0:
        raise InputError(f"{name} must be a row of F32: {tensor.tensor_type.name} of shape {tensor.data.shape} ({path})")
    for pair, factor in enumerate(tensor.data):
        if not np.isfinite(factor) or factor <= 0:
            raise InputError(f"lambda must be finite and positive: pair {pair} of {name} is {factor} ({path})")
    return [float(str(factor)) for factor in tensor.data]


def model_of(reader: gguf.GGUFReader, architecture: str, pairs: int, original: int, path: Path) -> dict | None:
    """The model that the factors belong to; None where the file holds factors alone."""
    heads_key = gguf.Keys.Attention.HEAD_COUNT.format(arch=architecture)
    if value_of(reader, heads_key) is None:
        return None
    heads = integer(reader, heads_key, 1, LARGEST_DIM, path)
    width = integer(reader, gguf.Keys.LLM.EMBEDDING_LENGTH.format(arch=architecture), 1, LONGEST, path)
    key_length = gguf.Keys.Attention.KEY_LENGTH.format(arch=architecture)
    head_dim = width // heads
    if value_of(reader, key_length) is not None:
        head_dim = integer(reader, key_length, SMALLEST_DIM, LARGEST_DIM, path)
    dimension_count = gguf.Keys.Rope.DIMENSION_COUNT.format(arch=architecture)
    rotated = head_dim
    if value_of(reader, dimension_count) is not None:
        rotated = integer(reader, dimension_count, SMALLEST_DIM, LARGEST_DIM, path)
    if rotated != 2 * pairs or not rotated <= head_dim <= LARGEST_DIM:
        raise InputError(f"factors must number half of the {rotated} rotated channels of {head_dim}: {pairs} ({path})")
    name = value_of(reader, gguf.Keys.General.NAME)
    return {"id": name if isinstance(name, str) else path.stem, "sha256": "", "head_dim": head_dim,
            "rotary_dim": rotated, "layout": "half_split", "L0": original,
            "rope_theta": positive(reader, BASE_FREQUENCY.format(arch=architecture), DEFAULT_BASE_FREQUENCY, path)}


def canonical(path: Path) -> dict:
    reader = read_gguf(path)
    architecture = value_of(reader, gguf.Keys.General.ARCHITECTURE)
    if not isinstance(architecture, str):
        raise InputError(f"a GGUF file must name its architecture: {architecture!r} ({path})")
    scale, factor = scaling_beside_tables(reader, architecture, path)
    # llama.cpp takes rope_freqs at every length, in place of the other two.
    single = has_tensor(reader, SINGLE_TABLE)
    tables = {key: [scale * value for value in table(reader, SINGLE_TABLE if single else name, path)]
              for name, key in TENSORS.items()}
    if len(tables["long_factor"]) != len(tables["short_factor"]):
        raise InputError(f"long and short factors must have one length: {len(tables['long_factor'])} and "
                         f"{len(tables['short_factor'])} ({path})")
    context = integer(reader, LENGTH.format(arch=architecture), 2, LONGEST, path)
    original_key = gguf.Keys.Rope.SCALING_ORIG_CTX_LEN.format(arch=architecture)
    original = context if value_of(reader, original_key) is None else integer(reader, original_key, 2, LONGEST, path)
    if value_of(reader, original_key) is None:
        print(f"import_gguf: the file does not say the original length ({original_key}): L0 is its context length, "
              f"{context}", file=sys.stderr)
    mscale = {"policy": "none" if factor == 1.0 else "value", "value": factor}

    def entry(length: int, factors: list[float]) -> dict:
        return {"id": f"{path.stem}-{length}", "target_len": length, "lambda": factors, "n_hat": 0, "mscale": mscale}

    file = {"schema": "longrope-factors/1"}
    model = model_of(reader, architecture, len(tables["long_factor"]), original, path)
    if model is not None:
        file["model"] = model
    file["factors"] = [entry(context, tables["long_factor"])]
    if original < context and tables["short_factor"] != tables["long_factor"]:
        file["factors"].insert(0, entry(original, tables["short_factor"]))
        file["schedule"] = [{"max_len": each["target_len"], "factors_id": each["id"]} for each in file["factors"]]
    return file


def write(file: dict, out: Path) -> None:
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(file, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(temporary, out)  # whole or not at all
    finally:
        temporary.unlink(missing_ok=True)
    print(out)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gguf", type=Path, metavar="FILE", help="GGUF file with longrope factors")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="canonical JSON to write")
    arguments = parser.parse_args()
    return exit_code_of("import_gguf", lambda: write(canonical(arguments.gguf), arguments.out))


if __name__ == "__main__":
    sys.exit(main())
