"""`longrope inspect-model` says whether a model is supported; `score`, `run` and `finetune` refuse in the same words."""

import json
import math
import re
import struct

import pytest

from longrope_processes import MODEL, longrope, write_search

CONFIG = {"architectures": ["LlamaForCausalLM"], "vocab_size": 258, "hidden_size": 8, "intermediate_size": 12,
          "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64,
          "rope_theta": 10000.0, "tie_word_embeddings": False}
BYTES = {"F64": 8, "F32": 4, "F8_E4M3": 1}


def shapes():
    layer = {"input_layernorm": [8], "post_attention_layernorm": [8], "self_attn.q_proj": [8, 8],
             "self_attn.k_proj": [4, 8], "self_attn.v_proj": [4, 8], "self_attn.o_proj": [8, 8], "mlp.gate_proj": [12, 8],
             "mlp.up_proj": [12, 8], "mlp.down_proj": [8, 12]}
    return {"model.embed_tokens.weight": [258, 8], "lm_head.weight": [258, 8], "model.norm.weight": [8],
            **{f"model.layers.0.{name}.weight": shape for name, shape in layer.items()}}


def write_weights(path, tensors, dtype="F32"):
    """Zeros of `tensors`, name → shape."""
    header, end = {}, 0
    for name, shape in tensors.items():
        begin, end = end, end + BYTES[dtype] * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))


def lfs_pointer(folder):
    (folder / "model.safetensors").write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{64 * '0'}\n"
                                              "size 13476838\n")


def adapter(folder):
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    write_weights(folder / "adapter_model.safetensors", {"base_model.model.lora_A.weight": [2, 8]})


def without_lm_head(folder):
    tensors = shapes()
    del tensors["lm_head.weight"]
    write_weights(folder / "model.safetensors", tensors)


CASES = {
    "lfs_pointer": (lfs_pointer, "git lfs pull"),
    "bin_only": (lambda folder: (folder / "pytorch_model.bin").write_bytes(b"PK"), "convert it to safetensors"),
    "adapter": (adapter, "merge_and_unload"),
    "float64": (lambda folder: write_weights(folder / "model.safetensors", shapes(), "F64"), "save them as float32"),
    "float8": (lambda folder: write_weights(folder / "model.safetensors", shapes(), "F8_E4M3"), "are quantized"),
    "without_lm_head": (without_lm_head, "set tie_word_embeddings to true"),
    "padded_vocabulary": (lambda folder: write_weights(folder / "model.safetensors", shapes() | {
        "model.embed_tokens.weight": [320, 8], "lm_head.weight": [320, 8]}), "set vocab_size to 320"),
}


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def refused(*arguments):
    done = longrope(*arguments, check=False)
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    return done


def test_supported_models_are_said_to_be(model):
    write_weights(model / "model.safetensors", shapes())
    for directory in (model, MODEL):
        assert longrope("inspect-model", directory).stdout.splitlines()[0] == "supported: yes"


@pytest.mark.parametrize("name", list(CASES))
def test_what_no_worker_could_load_is_refused_in_the_same_words(tmp_path, model, name):
    make, help_ = CASES[name]
    make(model)
    inspected = refused("inspect-model", model).stdout.strip()
    assert inspected.startswith("supported: no, because ") and "\n" not in inspected
    reason = inspected.removeprefix("supported: no, because ")
    assert help_ in reason and str(model) in reason
    search = write_search(tmp_path / "search", model=model, documents=1)
    documents = search.parent / "search.safetensors"
    database = tmp_path / "search.db"
    assert reason in refused("score", "--model", model, "--documents", documents, "--length", 64).stderr
    assert reason in refused("run", search, "--db", database, "--workers", 1).stderr
    assert reason in refused("finetune", "--model", model, "--documents", documents, "--length", 64, "--steps", 1,
                             "--batch-size", 1, "--learning-rate", 1e-4, "--out", tmp_path / "out").stderr
    assert not database.exists() and not (tmp_path / "out").exists()


def test_reached_length_that_is_left_open_is_assumed_aloud_until_it_is_said(tmp_path, model):
    (model / "config.json").write_text(json.dumps(CONFIG | {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}))
    write_weights(model / "model.safetensors", shapes())
    search = write_search(tmp_path / "search", length=128, model=model)

    def reached(*arguments):
        done = longrope("inspect-model", "--model", model, *arguments)
        return re.search(r"^reached context +(\d+)$", done.stdout, re.MULTILINE)[1], "--reached-length 64" in done.stderr

    assert reached() == ("256", True) and reached("--reached-length", 64) == ("64", False)
    for command in (["factors", "--length", 128], ["score", "--length", 128, "--documents", search.parent / "search.safetensors"],
                    ["evaluate", "--length", 128, "--documents", search.parent / "search.safetensors"]):
        assert "is taken to reach 256 tokens" in longrope(*command, "--model", model, check=False).stderr, command
        assert longrope(*command, "--model", model, "--reached-length", 64).stderr == "", command
    assert "must exceed the model's 256 tokens" in refused("run", search, "--dry-run").stderr
    search.write_text(search.read_text().replace("[model]", "[model]\nreached_length = 64"))
    assert "is taken to reach" not in longrope("run", search, "--dry-run").stderr


def test_name_on_hugging_face_is_refused_with_its_download():
    for command in (["inspect-model"], ["score", "--documents", "x", "--length", 64, "--model"]):
        message = refused(*command, "meta-llama/Llama-3.1-8B").stderr
        assert "a model must be a directory" in message
        assert "hf download meta-llama/Llama-3.1-8B --local-dir DIR" in message
