"""tools/export_gguf.py over bases that carry rope scaling: what llama.cpp computes is what the factors say.

A reader of its own computes angles and attention factor of the written file by llama.cpp's rule (load_hparams,
llama_context, get_rope_factors, ggml_rope_ext); where llama.cpp is installed it scores the file as well.
"""

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

TARGET, ROTARY_DIM, ROPE_THETA = 2048, 64, 10000.0
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 128}


def llama3_factors():
    """rope_freqs as convert_hf_to_gguf.py of llama.cpp computes it."""
    factors = []
    low, high = (LLAMA3["original_max_position_embeddings"] / LLAMA3[key] for key in ("low_freq_factor", "high_freq_factor"))
    for channel in range(0, ROTARY_DIM, 2):
        wave_length = 2 * math.pi * ROPE_THETA ** (channel / ROTARY_DIM)
        if wave_length < high:
            factors.append(1.0)
        elif wave_length > low:
            factors.append(LLAMA3["factor"])
        else:
            smooth = (LLAMA3["original_max_position_embeddings"] / wave_length - LLAMA3["low_freq_factor"]) / (
                LLAMA3["high_freq_factor"] - LLAMA3["low_freq_factor"])
            factors.append(1 / ((1 - smooth) / LLAMA3["factor"] + smooth))
    return factors


# Name of a base: rope parameters of its config.json, keys and tensors that llama.cpp's converter writes for them.
BASES = {
    "none": ({"rope_type": "default"}, {}, {}),
    "linear": ({"rope_type": "linear", "factor": 2.0, "original_max_position_embeddings": 512},
               {"rope.scaling.type": "linear", "rope.scaling.factor": 2.0}, {}),
    "linear of old files": ({"rope_type": "linear", "factor": 2.0, "original_max_position_embeddings": 512},
                            {"rope.scale_linear": 2.0}, {}),
    "yarn": ({"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 512},
             {"rope.scaling.type": "yarn", "rope.scaling.factor": 2.0, "rope.scaling.original_context_length": 512,
              "rope.scaling.yarn_ext_factor": 1.0, "rope.scaling.yarn_beta_fast": 32.0,
              "rope.scaling.yarn_attn_factor": 1.0, "rope.scaling.yarn_log_multiplier": 0.1}, {}),
    "llama3": ({"rope_type": "llama3", **LLAMA3}, {}, {"rope_freqs.weight": llama3_factors()}),
}


def add_to_gguf(base, out, keys, tensors):
    """Copies `base` with further keys and tensors, by the `gguf` package alone."""
    reader, writer = gguf.GGUFReader(base), gguf.GGUFWriter(out, "llama")
    for field in reader.fields.values():
        if field.name != "general.architecture" and not field.name.startswith("GGUF."):
            writer.add_key_value(field.name, field.contents(), field.types[0])
    for key, value in keys.items():
        kind = gguf.GGUFValueType.UINT32 if isinstance(value, int) else gguf.GGUFValueType.get_type(value)
        writer.add_key_value(f"llama.{key}", value, kind)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, np.array(tensor.data), raw_dtype=tensor.tensor_type)
    for name, values in tensors.items():
        writer.add_tensor(name, np.float32(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def llama_cpp_rotation(path, context):
    """Angle per position of each rotary pair and the attention factor, as llama.cpp takes them from all keys and tensors."""
    reader = gguf.GGUFReader(path)

    def key(name, default):
        field = reader.get_field(f"llama.{name}")
        return default if field is None else field.contents()

    kind = key("rope.scaling.type", "linear")
    scaling_factor = key("rope.scaling.factor", key("rope.scale_linear", 0.0))
    frequency_scale = 1.0 if scaling_factor == 0.0 or kind == "none" else 1.0 / scaling_factor
    ext_factor = key("rope.scaling.yarn_ext_factor", -1.0)
    if ext_factor < 0:
        ext_factor = 1.0 if kind == "yarn" else 0.0
    attention_factor = key("rope.scaling.yarn_attn_factor", 1.0) * key("rope.scaling.attn_factor", 1.0)
    original = key("rope.scaling.original_context_length", key("context_length", None))
    tensors = {tensor.name: np.float64(tensor.data) for tensor in reader.tensors}
    pairs = key("rope.dimension_count", None) // 2
    divisors = np.ones(pairs)
    # Its loader creates one kind of table by the scaling type and refuses a file with tensors of the other kind.
    wanted = {"rope_factors_long.weight", "rope_factors_short.weight"} if kind == "longrope" else {"rope_freqs.weight"}
    assert not {name for name in tensors if name.startswith("rope_")} - wanted, "llama.cpp does not load the file"
    if "rope_freqs.weight" in tensors:
        divisors = tensors["rope_freqs.weight"]
    elif "rope_factors_long.weight" in tensors:
        divisors = tensors["rope_factors_long.weight" if context > original else "rope_factors_short.weight"]
    dim = 2 * pairs
    extrapolated = key("rope.freq_base", 10000.0) ** (-np.arange(0, dim, 2) / dim) / divisors
    angles = frequency_scale * extrapolated
    if ext_factor != 0.0:
        def corner(rotations):
            return dim * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(key("rope.freq_base", 10000.0)))

        low = max(0.0, math.floor(corner(key("rope.scaling.yarn_beta_fast", 32.0))))
        high = min(dim - 1.0, math.ceil(corner(key("rope.scaling.yarn_beta_slow", 1.0))))
        ramp = ext_factor * (1 - np.clip((np.arange(pairs) - low) / max(0.001, high - low), 0, 1))
        angles = angles * (1 - ramp) + extrapolated * ramp
        attention_factor *= 1 + 0.1 * math.log(1 / frequency_scale)
    return angles, attention_factor


@pytest.fixture(scope="module", params=BASES)
def exported(request, tmp_path_factory):
    """A folder with a model that carries scaling, its GGUF file, an export of factors over it, and the copy."""
    rope, keys, tensors = BASES[request.param]
    folder = tmp_path_factory.mktemp("base")
    shutil.copytree(MODEL, folder / "model", ignore=shutil.ignore_patterns("text"))
    plain = write_gguf(folder, "fp32")
    config = json.loads((folder / "model" / "config.json").read_text())
    config["rope_parameters"] = {**rope, "rope_theta": ROPE_THETA}
    (folder / "model" / "config.json").write_text(json.dumps(config))
    base = add_to_gguf(plain, folder / "base.gguf", keys, tensors)

    printed = subprocess.run([LONGROPE, "factors", "--model", folder / "model", "--length", str(TARGET), "--method", "yarn",
                              "--json"], capture_output=True, text=True, check=True).stdout
    factors = json.loads(printed)
    (folder / "factors.csv").write_text("\n".join(map(str, factors["lambda"])))
    for arguments in (["import", folder / "factors.csv", "--model", folder / "model", "--length", str(TARGET),
                       "--attention-factor", str(factors["attention_factor"]), "--out", folder / "factors.json"],
                      ["export", "--factors", folder / "factors.json", "--model", folder / "model", "--format", "hf",
                       "--out", folder / "export"]):
        subprocess.run([LONGROPE, *map(str, arguments)], check=True, capture_output=True)
    copy = folder / "model-fp32.gguf"  # where the reference of the bench looks for it
    done = subprocess.run([sys.executable, "-B", ROOT / "tools" / "export_gguf.py", folder / "export" / "config.json",
                           "--base", base, "--out", copy], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder, rope["rope_type"], done.stderr


@pytest.mark.parametrize("table, context", [("short_factor", 512), ("long_factor", TARGET)])
def test_llama_cpps_rule_gives_the_angles_of_the_export(exported, table, context):
    folder, _, _ = exported
    rope = json.loads((folder / "export" / "config.json").read_text())["rope_parameters"]
    angles, attention_factor = llama_cpp_rotation(folder / "model-fp32.gguf", context)
    expected = ROPE_THETA ** (-np.arange(0, ROTARY_DIM, 2) / ROTARY_DIM) / np.float64(rope[table])
    np.testing.assert_allclose(angles, expected, rtol=1e-6)
    assert attention_factor == pytest.approx(rope["attention_factor"], rel=1e-6)


def test_the_short_table_is_what_the_base_computes(exported):
    folder, _, _ = exported
    angles, _ = llama_cpp_rotation(folder / "model-fp32.gguf", 512)
    np.testing.assert_allclose(angles, llama_cpp_rotation(folder / "base.gguf", 512)[0], rtol=1e-5)


def test_scaling_of_the_base_that_is_left_out_is_named(exported):
    _, kind, printed = exported
    named = {"default": [], "linear": ["left out of the copy: llama.rope."], "llama3": ["left out of the copy: rope_freqs"],
             "yarn": ["llama.rope.scaling.factor = 2.0", "llama.rope.scaling.yarn_beta_fast = 32.0"]}[kind]
    assert all(text in printed for text in named), printed
    assert ("left out" in printed) == bool(named) and "warning" not in printed, printed


def nll_by_llama_cpp(folder, documents, context, tmp_path):
    """NLL of the first tokens of the only document by `folder`/model-fp32.gguf, a process of llama.cpp in `tmp_path`."""
    (tmp_path / "model").symlink_to(folder / "model")
    (tmp_path / "model-fp32.gguf").symlink_to(folder / "model-fp32.gguf")
    save_file({"random": next(iter(load_file(documents).values()))}, documents)
    script = f"from llama_cpp_reference import run_llama_cpp; import pathlib; " \
             f"run_llama_cpp(pathlib.Path({str(tmp_path)!r}), {context}, 'fp32', 1)"
    found = subprocess.run([sys.executable, "-B", "-c", script], cwd=BENCH, check=True, capture_output=True, text=True)
    return json.loads(found.stdout.splitlines()[-1])["nll_sum"]


@pytest.mark.parametrize("context", [512, TARGET])
def test_llama_cpp_scores_the_copy_as_the_worker_does(exported, tmp_path, context):
    if importlib.util.find_spec("llama_cpp") is None:
        pytest.skip("NOT RUN: llama-cpp-python is not installed (make test without CI=1 does)")
    folder, _, _ = exported
    documents = tmp_path / "documents.safetensors"
    subprocess.run([LONGROPE, "documents", "--length", str(TARGET), "--count", "1", "--out", documents,
                    MODEL / "text" / "heldout.txt"], check=True, capture_output=True)
    factors = json.loads((folder / "factors.json").read_text())["factors"][0]
    expected = json.loads(subprocess.run(
        [LONGROPE, "score", "--model", folder / "model", "--documents", documents, "--length", str(context), "--factors",
         "none" if context <= 512 else folder / "factors.csv", "--attention-factor", str(factors["mscale"]["value"]),
         "--json"], check=True, capture_output=True, text=True).stdout)["total"]["nll_sum"]
    assert nll_by_llama_cpp(folder, documents, context, tmp_path) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("exported", ["none"], indirect=True)
def test_factors_over_another_scaling_than_that_of_the_base_are_warned_about(exported, tmp_path):
    folder, _, _ = exported
    base = add_to_gguf(folder / "base.gguf", tmp_path / "base.gguf", {}, {"rope_freqs.weight": llama3_factors()})
    done = subprocess.run([sys.executable, "-B", ROOT / "tools" / "export_gguf.py", folder / "export" / "config.json",
                           "--base", base, "--out", tmp_path / "out.gguf"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "warning: rope_freqs.weight of the base differs from short_factor" in done.stderr
