#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets, tests/fuzz/corpus/TARGET/seed-NAME: valid inputs of every kind, from which the
fuzzer goes on, and the attacks that a reader of files is known to meet. Other files in the corpus are inputs of repaired
faults."""

import json
import math
import pathlib
import struct

FOLDER = pathlib.Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent


def seed(target, name, content):
    folder = FOLDER / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"seed-{name}").write_bytes(content if isinstance(content, bytes) else content.encode())


def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def bundled_model_cut_down():
    """The header of the bundled model with every size 1, and its data."""
    content = (ROOT / "models/byte-llama/model.safetensors").read_bytes()
    header = json.loads(content[8:8 + struct.unpack("<Q", content[:8])[0]])
    offset = 0
    for name in sorted(key for key in header if "layers" not in key or "layers.0." in key):
        if name != "__metadata__":
            header[name] = tensor("BF16", [1] * len(header[name]["shape"]), offset, offset + 2)
            offset += 2
    kept = {name: entry for name, entry in header.items() if "layers" not in name or "layers.0." in name}
    return safetensors(kept, bytes(range(offset)))


def safetensors_files():
    one = tensor("U8", [2], 0, 2)
    seed("safetensors_file", "bundled-model", bundled_model_cut_down())
    seed("safetensors_file", "dtypes", safetensors(
        {"a": tensor("F64", [1], 0, 8), "b": tensor("F32", [2, 1], 8, 16), "c": tensor("I64", [], 16, 24),
         "d": tensor("BOOL", [0, 7], 24, 24), "e": tensor("F8_E4M3", [1], 24, 25)}, bytes(25)))
    for bits in (63, 64):
        seed("safetensors_file", f"header-of-2-to-the-{bits}", safetensors({"a": one}, b"xy", 2**bits - (bits == 64)))
    seed("safetensors_file", "header-of-100-megabytes", safetensors({"a": one}, b"xy", 100_000_000))
    seed("safetensors_file", "header-one-byte-too-long", safetensors({"a": one}, b"", len(json.dumps({"a": one})) + 1))
    seed("safetensors_file", "no-header", bytes(8))
    seed("safetensors_file", "no-data", safetensors({}))
    seed("safetensors_file", "overlap", safetensors({"a": one, "b": tensor("U8", [2], 1, 3)}, b"xyz"))
    seed("safetensors_file", "hole", safetensors({"a": one, "b": tensor("U8", [1], 3, 4)}, b"wxyz"))
    seed("safetensors_file", "end-before-begin", safetensors({"a": tensor("U8", [2], 2, 0)}, b"xy"))
    seed("safetensors_file", "offset-of-2-to-the-64", safetensors({"a": tensor("U8", [2], 0, 2**64 - 1)}, b"xy"))
    seed("safetensors_file", "shape-that-overflows", safetensors({"a": tensor("F64", [2**62, 2**62], 0, 2)}, b"xy"))
    seed("safetensors_file", "shape-of-zero-times-huge", safetensors({"a": tensor("F64", [0, 2**62], 0, 0)}))
    seed("safetensors_file", "negative-shape", safetensors({"a": tensor("U8", [-2], 0, 2)}, b"xy"))
    seed("safetensors_file", "number-as-1e999", safetensors(
        b'{"a":{"dtype":"U8","shape":[1e999],"data_offsets":[0,2]}}', b"xy"))
    seed("safetensors_file", "nan", safetensors(b'{"a":{"dtype":"U8","shape":[NaN],"data_offsets":[0,2]}}', b"xy"))
    seed("safetensors_file", "duplicate-key", safetensors(
        b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}',
        b"xy"))
    seed("safetensors_file", "deep-nesting", safetensors(b"[" * 2000))
    seed("safetensors_file", "control-characters", safetensors({"\u001b[2J": tensor("\u001b]0;x\u0007", [2], 0, 2)},
                                                               b"xy"))


def documents_files():
    meta = {"format": "longrope-documents/1", "tokenizer_digest": "byte-level", "source": "here"}
    tokens = struct.pack("<4i", 256, 1, 2, 3)
    one = {"__metadata__": meta, "a": tensor("I32", [4], 0, 16)}
    seed("documents", "two-documents", (ROOT / "tests/fixtures/documents/two_documents.safetensors").read_bytes())
    seed("documents", "mask", safetensors({**one, "a.scored": tensor("U8", [4], 16, 20)}, tokens + b"\0\0\1\1"))
    seed("documents", "empty-mask", safetensors({**one, "a.scored": tensor("U8", [4], 16, 20)}, tokens + bytes(4)))
    seed("documents", "mask-of-nothing", safetensors(
        {"__metadata__": meta, "a.scored": tensor("U8", [4], 0, 4)}, bytes(4)))
    seed("documents", "negative-token", safetensors(one, struct.pack("<4i", 256, -1, 2, 3)))
    seed("documents", "no-token", safetensors({"__metadata__": meta, "a": tensor("I32", [0], 0, 0)}))
    seed("documents", "other-format", safetensors({**one, "__metadata__": {**meta, "format": "pt"}}, tokens))


def weight_indexes():
    shard = "model-00001-of-00001.safetensors"

    def index(name, *shards):
        seed("weight_files", name, json.dumps({"metadata": {"total_size": 2},
                                               "weight_map": {f"t{i}": s for i, s in enumerate(shards)}}))
    index("valid", shard, shard, "./" + shard)
    index("missing-shard", shard, "model-00002-of-00002.safetensors")
    index("parent", "../model.safetensors")
    index("parent-in-the-middle", "a/../../model.safetensors")
    index("absolute", "/etc/model.safetensors")
    index("zero-byte", "/dev/null\0.safetensors")
    index("other-extension", "config.json")
    index("control-characters", "\u001b[2J.safetensors")
    index("not-a-string", 7)
    index("empty")
    seed("weight_files", "duplicate-key", '{"weight_map":{"a":"%s","a":"b.safetensors"}}' % shard)
    seed("weight_files", "deep-nesting", '{"weight_map":' + "[" * 2000)


def model_descriptions():
    config = json.loads((ROOT / "models/byte-llama/config.json").read_text())

    def changed(name, **changes):
        seed("model_description", name, json.dumps({**config, **changes}))
    changed("bundled-model")
    changed("transformers-4", rope_theta=500000.0, torch_dtype="float16", rope_parameters=None, rope_scaling=None)
    changed("scaled", rope_scaling={"rope_type": "llama3", "factor": 8.0})
    changed("other-architecture", architectures=["GPT2LMHeadModel"])
    changed("quantized", quantization_config={"bits": 4})
    changed("negative", num_attention_heads=-4)
    changed("fraction", num_hidden_layers=1.5)
    changed("two-to-the-64", hidden_size=2**64 - 1)
    changed("odd-heads", num_attention_heads=7, head_dim=None)
    text = json.dumps(config)
    seed("model_description", "number-as-1e999", text.replace("1e-05", "1e999"))
    seed("model_description", "nan", text.replace("1e-05", "NaN"))
    seed("model_description", "duplicate-key", text.replace("{", '{"vocab_size": 1, ', 1))
    seed("model_description", "deep-nesting", '{"a":' * 2000)
    seed("model_description", "no-utf-8", text.encode().replace(b"silu", b"\xff\xfe"))


def configurations():
    minimal = ('[run]\nname = "demo"\n[model]\npath = "m"\n[[stage]]\nname = "4k"\ntarget_length = 4096\n'
               'search_documents = "s"\nheldout_documents = "h"\n')
    for path in sorted((ROOT / "configs").glob("*.toml")):
        lines = (line.split("#")[0].rstrip() for line in path.read_text().splitlines())
        seed("config", path.stem, "\n".join(line for line in lines if line) + "\n")
    seed("config", "minimal", minimal)
    seed("config", "every-search-key", minimal + (
        '[stage.search]\nmethod = "authors"\nnum_mutations = 4\ncrossover_probability = 0.5\nmax_crossover_tries = 3\n'
        'steps_per_unit = 50\nupper_bound = 40.0\nseeds = []\nseed_files = ["a.csv"]\n'
        'attention_policies = ["value"]\nattention_value = 1.2\nn_hat = [0, 4]\n'
        '[stage.stop]\nmax_candidates = 5\ntime_limit_minutes = 1.5\n'))
    seed("config", "gradient-search", minimal + (
        '[stage.search]\nmethod = "gradient"\nbatch = 4\nstep_size = 0.05\n[stage.stop]\nmax_passes = 60\n'))
    seed("config", "unknown-key", minimal + "[stage.search]\npopulation = 1\n")
    seed("config", "duplicate-key", minimal + "target_length = 8192\n")
    seed("config", "duplicate-table", minimal + "[run]\n")
    seed("config", "nan-and-infinity", minimal + "[stage.search]\nmutation_probability = nan\nupper_bound = inf\n")
    seed("config", "large-numbers", minimal + "[stage.search]\nupper_bound = 1e308\nlag = 9223372036854775807\n")
    seed("config", "deep-arrays", "a = " + "[" * 2000)
    seed("config", "deep-tables", "a = " + "{b=" * 2000)
    seed("config", "deep-dotted-key", ".".join("a" * 2000) + " = 1\n")
    seed("config", "control-characters", minimal + '"\\u001b[2J" = 1\n')
    seed("config", "dates", minimal + "[scheduling]\ncredit = 1979-05-27T07:32:00Z\n")


def factors_files():
    models = json.loads((ROOT / "configs/published/published_factors.json").read_text())
    published = next(model for name, model in models.items() if name.startswith("Phi-3.5-mini"))
    entry = {"id": "best", "target_len": 8192, "lambda": [1.0, 1.5, 2.0], "lambda_grid": [0, 50, 100],
             "steps_per_unit": 100, "n_hat": 0, "mscale": {"policy": "su", "value": 1.1}, "composed_from": ["a"],
             "fitness": {"name": "perplexity", "value": 2.5, "dataset_digest": "d", "samples": 3, "dtype": "fp32"}}
    canonical = {"schema": "longrope-factors/1",
                 "model": {"id": "m", "sha256": "0" * 64, "head_dim": 6, "rotary_dim": 6, "rope_theta": 10000.0,
                           "layout": "half_split", "L0": 512},
                 "factors": [entry, {**entry, "id": "other", "target_len": 4096}]}
    text = json.dumps(canonical)
    seed("factors_file", "canonical", text)
    schedule = [{"max_len": 4096, "factors_id": "other"}, {"max_len": 8192, "factors_id": "best"}]
    seed("factors_file", "schedule", json.dumps({**canonical, "schedule": schedule}))
    seed("factors_file", "schedule-that-falls", json.dumps({**canonical, "schedule": schedule[::-1]}))
    seed("factors_file", "off-the-grid", text.replace("1.5", "1.5000000001"))
    seed("factors_file", "number-as-1e999", text.replace("1.5", "1e999"))
    seed("factors_file", "nan", text.replace("1.5", "NaN"))
    seed("factors_file", "negative-factor", text.replace("1.5", "-1.5"))
    seed("factors_file", "duplicate-id", text.replace("other", "best"))
    seed("factors_file", "duplicate-key", text.replace("{", '{"schema": "longrope-factors/1", ', 1))
    seed("factors_file", "deep-nesting", '{"schema":' + "[" * 2000)
    for version, key in ((4, "rope_scaling"), (5, "rope_parameters")):
        config = {"hidden_size": 8, "num_attention_heads": 1, "max_position_embeddings": 131072,
                  "original_max_position_embeddings": 4096,
                  key: {"rope_type": "longrope", "long_factor": published["long_factor"][:4], "factor": 32.0}}
        seed("factors_file", f"transformers-{version}", json.dumps(config))
    seed("factors_file", "attention-factor", json.dumps(
        {"rope_scaling": {"type": "su", "long_factor": [1.0, 2.0], "attention_factor": 1.2}}))
    rows = "1.0,1.5,2.7900000000000005\n"
    overrides = {"original_max_position_embeddings": 4096, "rope_parameters": {
        "rope_type": "longrope", "short_factor": [1, 1], "long_factor": [1, 2], "attention_factor": 1.5,
        "short_mscale": 1.0, "long_mscale": 1.5}}
    seed("factors_file", "vllm", f"max-model-len: 8192\nhf-overrides: '{json.dumps(overrides)}'\n")
    seed("factors_file", "vllm-open-quote", "hf-overrides: '")
    axolotl = ("base_model: a\nadapter:\noverrides_of_model_config:\n"
               f"  rope_parameters: {json.dumps(overrides['rope_parameters'])}\n")
    seed("factors_file", "axolotl", axolotl + "  original_max_position_embeddings: 4096\n")
    seed("factors_file", "axolotl-block", "overrides_of_model_config:\n  rope_parameters:\n    rope_type: longrope\n"
         "    long_factor:\n    - 1.0\n    - 2.0\n    attention_factor: 1.5\n")
    seed("factors_file", "axolotl-alias", axolotl.replace("adapter:", "adapter: &x [1]\nother: *x"))
    seed("factors_file", "axolotl-deep-nesting", axolotl.replace("adapter:", "adapter: " + "[" * 2000))
    seed("factors_file", "axolotl-tag", axolotl.replace("adapter:", "adapter: !!binary aGk="))
    seed("factors_file", "csv-lines", rows.replace(",", "\n"))
    seed("factors_file", "csv-rows", rows * 3)
    seed("factors_file", "csv-unequal-rows", rows + rows.replace("1.5", "1.6"))
    seed("factors_file", "csv-nan", "1.0\nnan\n")
    seed("factors_file", "csv-infinity", "1.0,inf\n")
    seed("factors_file", "csv-zero-byte", "1.0\n\0\n")
    seed("factors_file", "csv-commas", ",,,\n,\n")


def evaluation_files():
    row = {"method": "base", "length": 8192, "kind": "single", "attention_factor": 1.0, "nll_sum": 300.5,
           "scored_tokens": 200, "perplexity": math.exp(300.5 / 200), "blocks": [[100.5, 0], [200, 200]],
           "documents": [{"name": "a", "nll_sum": 300.5, "scored_tokens": 200}]}
    sliding = {**row, "kind": "sliding", "window": 4096, "stride": 256, "windows": 17, "ppl_yarn": 4.6, "blocks": [],
               "documents": []}
    passkey = {"kind": "passkey", "method": "best", "length": 512, "depth": 0.25, "right": 9, "answers": 10,
               "accuracy": 0.9, "interval": [0.555, 0.997]}
    report = {"schema": "longrope-evaluation/1",
              "model": {"name": "m", "digest": "01", "original_length": 512, "reached_length": 1024},
              "documents": {"file": "heldout.safetensors", "count": 1, "digest": "23"}, "dtype": "fp32",
              "angles": "fp64", "device": "cpu", "threads": 2,
              "retrieval_documents": [{"kind": "passkey", "file": "keys.safetensors", "count": 10, "digest": "45"}],
              "methods": [{"name": "base", "factors": [{"length": 8192, "digest": "67", "attention_factor": 1.0}]}],
              "perplexity": [row, sliding], "retrieval": [passkey]}
    seed("evaluation_file", "valid", json.dumps(report))
    seed("evaluation_file", "huge-block", json.dumps({**report, "perplexity": [{**row, "blocks": [[1, 1e300]]}]}))
    seed("evaluation_file", "negative-block", json.dumps({**report, "perplexity": [{**row, "blocks": [[1, -1]]}]}))
    seed("evaluation_file", "nested-block", json.dumps({**report, "perplexity": [{**row, "blocks": [[[1], {}]]}]}))
    seed("evaluation_file", "reversed-interval",
         json.dumps({**report, "retrieval": [{**passkey, "interval": [1, 0]}]}))
    seed("evaluation_file", "overflowing-perplexity",
         json.dumps({**report, "perplexity": [{**row, "nll_sum": 1e300}]}))
    seed("evaluation_file", "number-as-1e999", json.dumps(report).replace("300.5", "1e999"))
    seed("evaluation_file", "deep-nesting", json.dumps(report).replace("[[100.5, 0], [200, 200]]", "[" * 999))


def packed(value):
    """MessagePack of what messages hold."""
    if isinstance(value, dict):
        return bytes([0x80 | len(value)]) + b"".join(packed(key) + packed(item) for key, item in value.items())
    if isinstance(value, list):
        return bytes([0x90 | len(value)]) + b"".join(packed(item) for item in value)
    if isinstance(value, str):
        return b"\xd9" + bytes([len(value.encode())]) + value.encode()
    if isinstance(value, bytes):
        return b"\xc4" + bytes([len(value)]) + value
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    return b"\xcf" + struct.pack(">Q", value)


def frames():
    def message(kind, /, **fields):
        seed("messages", kind, packed({"type": kind, "version": 2, **fields}))
    sender = {"worker": "w", "incarnation": "i"}
    lease = {"evaluation": 7, "epoch": 3}
    message("hello", **sender, host="h", threads=1, held=[[7, 3]])
    message("ready", **sender, model_digest="m", device="cpu", threads=1)
    message("unable", **sender, reason="no such model")
    message("need_document", **sender, digest="d")
    message("heartbeat", **sender, progress=2**63 - 1, held=[])
    message("result", **sender, **lease, nll_sum=float("nan"), scored_tokens=3, blocks=[[1.5, 3]], seconds=0.5,
            peak_memory_bytes=1, gradient=[-0.5, float("inf")])
    message("failure", **sender, **lease, error=2, detail="memory")
    message("leaving", **sender)
    message("welcome", model_name="m", model_digest="d", dtype="fp32", angles="fp64", threads=1,
            heartbeat_milliseconds=1000)
    message("introduce")
    message("refuse", reason="r")
    message("work", **lease, kind=0, **{"lambda": [1.0, 1.5]}, n_hat=0, attention_factor=1.1, document_digest="d",
            length=4)
    message("revoke", **lease)
    message("document", digest="d", name="n", tokens=struct.pack("<2i", 256, 1), scored=b"\0\1")
    message("acknowledge", **lease, outcome="stored", detail="")
    message("pong")
    message("dismiss", reason="finished")
    seed("messages", "array-of-2-to-the-32", b"\xdd\xff\xff\xff\xff")
    seed("messages", "text-of-2-to-the-32", b"\x81\xdb\xff\xff\xff\xff")
    seed("messages", "arrays-at-the-limit", b"\xdc\xff\xff" * 5)
    seed("messages", "deep-nesting", b"\x91" * 2000)
    seed("messages", "repeated-field", b"\x82" + packed("type") + packed("pong") + packed("type") + packed("pong"))


def engine_answers():
    """About the prompt of engine_answers_fuzz.cpp, 256 84 104 101."""
    entries = [None, {"84": {"logprob": -1.5, "rank": 2}, "73": {"logprob": -0.5}}, {"104": {"logprob": -0.25}},
               {"101": {"logprob": -2.0}}]
    usage = {"prompt_tokens": 4, "completion_tokens": 1}

    def echo(values):
        return {"choices": [{"text": "The.", "logprobs": {"tokens": [], "token_logprobs": values}}], "usage": usage}

    def next_token(likely):
        return {"tokens_evaluated": 3, "truncated": False,
                "completion_probabilities": [{"id": 101, "logprob": -0.5, "top_logprobs": likely}]}

    likely = [{"id": 32, "token": " ", "logprob": -0.5}, {"id": 101, "logprob": -2.5}]
    seed("engine_answers", "prompt-logprobs", json.dumps({"choices": [{"prompt_logprobs": entries}], "usage": usage}))
    seed("engine_answers", "echo", json.dumps(echo([None, -1.5, -0.25, -2.0, -0.5])))
    seed("engine_answers", "echo-behind-bos", json.dumps(echo([None, -0.25, -2.0])))
    seed("engine_answers", "echo-of-minus-infinity", json.dumps(echo([None, float("-inf"), -1, -1])))
    seed("engine_answers", "next-token", json.dumps(next_token(likely)))
    seed("engine_answers", "next-token-of-minus-1e999", json.dumps(next_token(likely)).replace("-2.5", "-1e999"))
    seed("engine_answers", "models", json.dumps({"object": "list", "data": [{"id": "my-llama", "object": "model"}]}))
    seed("engine_answers", "tokens", json.dumps({"tokens": [256, 84]}))
    seed("engine_answers", "deep-nesting", '{"choices":' + "[" * 999)


if __name__ == "__main__":
    safetensors_files()
    documents_files()
    weight_indexes()
    model_descriptions()
    configurations()
    factors_files()
    evaluation_files()
    frames()
    engine_answers()
