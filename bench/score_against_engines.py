#!/usr/bin/env python3
"""Compares `longrope score` with transformers and llama.cpp on one random Llama: speed, memory and the NLL itself.

Each engine runs in a process of its own, in turn, so that a slow minute of the machine hits all. Loading is not timed.
transformers runs SDPA attention and a lm_head in chunks of tokens, as one would score a long document with it;
llama.cpp as bench/llama_cpp_reference.py says.

    python bench/score_against_engines.py --lengths 2048,8192 --dtypes fp32 --threads 2 --repeats 3

Small documents of a checkpoint, of which the first warms up and is not timed:

    python bench/score_against_engines.py --model models/byte-llama --documents 9 --lengths 512,2048 --engines transformers

Writes bench/results/<date>-score-against-engines-[<model>-]<dtypes>-<lengths>.md.
"""

import argparse
import datetime
import importlib.metadata
import json
import pathlib
import platform
import shlex
import statistics
import sys
import tempfile
import time

from llama_cpp_reference import run_llama_cpp
from measurement import LONGROPE, RESULTS, ROOT, measure, output_of, print_measurement, processor

LOGIT_CHUNK = 512  # tokens per lm_head call of the reference
SEED = 1
TORCH_DTYPES = {"bf16": "bfloat16", "fp32": "float32"}
PACKAGES = {"transformers": "transformers", "llama.cpp": "llama-cpp-python"}  # of the other engines
# 134 million parameters, the proportions of SmolLM-135M.
SHAPE = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}


def make_inputs(folder, length, shape=SHAPE, model=None, documents=1):
    """A random checkpoint, or `model`, and random documents; the same for everyone who runs this."""
    import numpy
    import torch
    from safetensors.numpy import save_file
    from transformers import LlamaConfig, LlamaForCausalLM

    if model:
        (folder / "model").symlink_to(model.resolve())
    else:
        torch.manual_seed(SEED)
        config = LlamaConfig(**shape, bos_token_id=0, eos_token_id=0)
        LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder / "model")
    tokens = numpy.random.default_rng(SEED).integers(0, shape["vocab_size"], (documents, length), dtype=numpy.int32)
    save_file(
        {"random" if documents == 1 else f"random-{index}": row for index, row in enumerate(tokens)},
        folder / "documents.safetensors",
        metadata={"format": "longrope-documents/1", "tokenizer_digest": "random", "source": "random"},
    )


def run_transformers(folder, length, dtype, threads):
    """One measurement in this process: prints what `longrope score --json` gives in "total"."""
    import torch
    from safetensors.torch import load_file
    from transformers import LlamaForCausalLM

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    torch_dtype = getattr(torch, TORCH_DTYPES[dtype])
    model = LlamaForCausalLM.from_pretrained(folder / "model", dtype=torch_dtype, attn_implementation="sdpa").eval()
    documents = load_file(folder / "documents.safetensors")
    nll_sum = 0.0
    start = time.perf_counter()
    for index, name in enumerate(sorted(documents)):
        if index == 1:  # the first of several warms up
            nll_sum, start = 0.0, time.perf_counter()
        tokens = documents[name][:length].long()
        hidden = model.model(tokens[None], use_cache=False).last_hidden_state[0]
        for begin in range(0, length - 1, LOGIT_CHUNK):
            end = min(begin + LOGIT_CHUNK, length - 1)
            logits = model.lm_head(hidden[begin:end]).float()
            nll_sum += torch.nn.functional.cross_entropy(logits, tokens[begin + 1 : end + 1], reduction="sum").item()
    print_measurement(nll_sum, max(1, len(documents) - 1) * (length - 1), time.perf_counter() - start)


def measure_longrope(command):
    """The "total" of `longrope score --json`, without the first of several documents, which warms up."""
    result = measure(command)
    total, documents = result["total"], result["documents"][1:]
    if documents:
        total |= {key: sum(document[key] for document in documents) for key in ("nll_sum", "scored_tokens", "seconds")}
    return total


def product_peak(dtype, threads):
    """Operations per second of the best product of this dtype that a library does here: what a scorer can hope for. In
    float32 both Torch's (MKL, which takes AVX2 on AMD) and oneDNN's; in bfloat16 Torch's, which is oneDNN's."""
    import torch
    import torch.utils.mkldnn

    torch.set_num_threads(threads)
    torch_dtype = getattr(torch, TORCH_DTYPES[dtype])
    left, right = torch.randn(4096, 4096).to(torch_dtype), torch.randn(4096, 4096).to(torch_dtype)
    products = [lambda: torch.mm(left, right)]
    if dtype == "fp32":
        left_of_onednn = left.to_mkldnn()
        right_of_onednn = torch.utils.mkldnn.to_mkldnn(torch.nn.Linear(4096, 4096, bias=False))
        products.append(lambda: right_of_onednn(left_of_onednn))
    seconds = []
    with torch.no_grad():
        for product in products * 4:
            start = time.perf_counter()
            product()
            seconds.append(time.perf_counter() - start)
    return 2 * 4096**3 / min(seconds)


def operations(shape, length):
    """FLOPs of one forward pass with causal attention and the lm_head."""
    heads, kv_heads, head_dim = (shape[key] for key in ("num_attention_heads", "num_key_value_heads", "head_dim"))
    hidden, intermediate, layers = (shape[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    weights = hidden * head_dim * (2 * heads + 2 * kv_heads) + 3 * hidden * intermediate
    attention = 4 * heads * head_dim * length * (length + 1) // 2
    return layers * (2 * weights * length + attention) + 2 * hidden * shape["vocab_size"] * (length - 1)


def compare(folder, length, dtype, arguments):
    """The measurements of every engine, in the order of the columns."""
    ours = [
        str(LONGROPE), "score", "--model", str(folder / "model"), "--documents", str(folder / "documents.safetensors"),
        "--length", str(length), "--dtype", dtype, "--angles", "hf_fp32", "--threads", str(arguments.threads), "--timings",
        "--json",
    ]
    reference = [
        sys.executable, __file__, "--folder", str(folder), "--lengths", str(length), "--dtypes", dtype,
        "--threads", str(arguments.threads), "--reference",
    ]
    measured = {engine: [] for engine in ("longrope", *arguments.engines)}
    for repeat in range(arguments.repeats):
        for engine, results in measured.items():
            results.append(measure_longrope(ours) if engine == "longrope" else measure([*reference, engine]))
            seconds = results[-1]["seconds"]
            print(f"{length} tokens {dtype} repeat {repeat + 1}: {engine} {seconds:.2f} s", flush=True)
    for engine, results in measured.items():
        expected = arguments.timed * (length - 1)
        if any(result["scored_tokens"] != expected for result in results):
            raise SystemExit(f"{engine} did not score {expected} tokens: {results}")
    if len({result["nll_sum"] for result in measured["longrope"]}) != 1:
        raise SystemExit(f"longrope gave another NLL in another process: {measured['longrope']}")
    return measured


def rows(length, dtype, measured, peak, arguments):
    timed = arguments.timed

    def middle(engine, key):
        return statistics.median(result[key] for result in measured[engine])

    lines = []
    for engine, results in measured.items():
        seconds = [result["seconds"] for result in results]
        speed = timed * operations(arguments.shape, length) / statistics.median(seconds)
        difference = results[0]["nll_sum"] / measured["longrope"][0]["nll_sum"] - 1
        lines.append(
            f"| {length} | {dtype} | {engine} | {statistics.median(seconds):.2f} ({min(seconds):.2f}–{max(seconds):.2f}) "
            f"| {middle(engine, 'seconds') / middle('longrope', 'seconds'):.2f} "
            f"| {timed * length / middle(engine, 'seconds'):.0f} | {speed / 1e9:.0f} | {100 * speed / peak:.0f} % "
            f"| {round(middle(engine, 'peak_memory_bytes') / 2**20)} | {difference:+.1e} |"
        )
    return lines


def phases(length, dtype, measured, peak):
    """Rows of what the time of longrope's median process went to."""
    median = sorted(measured["longrope"], key=lambda result: result["seconds"])[(len(measured["longrope"]) - 1) // 2]
    lines = []
    for phase, found in median["timings"].items():
        share = 100 * found["seconds"] / median["seconds"]
        rate = found["operations"] / found["seconds"]
        lines.append(f"| {length} | {dtype} | {phase} | {found['seconds']:.2f} | {share:.1f} | {rate / 1e9:.0f} "
                     f"| {100 * rate / peak:.0f} % |")
    return lines


def report(measurements, arguments, peaks):
    import torch

    today = datetime.date.today().isoformat()
    commit = output_of(["git", "rev-parse", "--short", "HEAD"]) or "none"
    changed = " with uncommitted changes" if output_of(["git", "status", "--porcelain"]) else ""
    versions = {name: importlib.metadata.version(name) for name in ("torch", *(PACKAGES[e] for e in arguments.engines))}
    documents = "One document"
    if arguments.documents > 1:
        documents = f"{arguments.timed} documents, after one that warms up,"
    lines = [
        "# Scoring documents: longrope beside other engines",
        "",
        f"{today}, commit {commit}{changed}. Command: `{shlex.join(['python', *sys.argv])}`",
        "",
        f"Machine: {processor()}, Torch CPU kernels {torch.backends.cpu.get_cpu_capability()}, {arguments.threads} threads"
        f" for each engine, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + ". Product 4096³, the better of Torch's and oneDNN's, measured between the rows (the best seen): "
        + ", ".join(f"{dtype} {peak / 1e9:.0f} GF/s" for dtype, peak in peaks.items()) + ".",
        "",
        f"Model: {f'`{arguments.model}`' if arguments.model else 'random Llama'}, "
        + ", ".join(f"{key} {arguments.shape[key]}" for key in SHAPE if key in arguments.shape)
        + f". {documents} of random tokens. {arguments.repeats} process(es) of each, in turn; seconds are median "
        "(minimum–maximum) of the forward pass and loss, without loading; peak memory is the process's, with loading. NLL differences are relative to "
        "longrope's.",
        "",
        "In bf16 longrope multiplies bfloat16 numbers where the CPU has such products (AVX512-BF16), else float32; all else "
        "is float32. The others compute in bfloat16 as asked. The fp32 rows compare the same arithmetic.",
        "",
        "| tokens | dtype | engine | seconds | times longrope's | tokens/s | GF/s | of the product's | peak MiB "
        "| NLL difference |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(line for measurement in measurements for line in rows(*measurement, peaks[measurement[1]], arguments)),
        "",
        "Where the time of longrope goes (`longrope score --timings`, the median process):",
        "",
        "| tokens | dtype | phase | seconds | % | GF/s | of the product's |",
        "|---|---|---|---|---|---|---|",
        *(line for measurement in measurements for line in phases(*measurement, peaks[measurement[1]])),
    ]
    RESULTS.mkdir(parents=True, exist_ok=True)
    model = f"{arguments.model.name}-" if arguments.model else ""
    what = f"{model}{arguments.dtypes}-{arguments.lengths}".replace(",", "-")
    path = RESULTS / f"{today}-score-against-engines-{what}.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    print(f"\nwritten to {path.relative_to(ROOT)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", default="2048,8192", help="tokens, comma-separated (default: %(default)s)")
    parser.add_argument("--dtypes", default="bf16,fp32", help="comma-separated (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of each engine (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="processes of each engine (default: %(default)s)")
    parser.add_argument("--model", type=pathlib.Path, help="a checkpoint [a random Llama of 135 million parameters]")
    parser.add_argument("--documents", type=int, default=1, help="documents; the first of several is not timed "
                        "(default: %(default)s)")
    parser.add_argument("--engines", default=",".join(PACKAGES), help="beside longrope (default: %(default)s)")
    parser.add_argument("--reference", choices=PACKAGES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.engines = arguments.engines.split(",")
    lengths = [int(length) for length in arguments.lengths.split(",")]
    dtypes = arguments.dtypes.split(",")
    if arguments.reference:
        run = {"transformers": run_transformers, "llama.cpp": run_llama_cpp}[arguments.reference]
        run(arguments.folder, lengths[0], dtypes[0], arguments.threads)
        return
    if not LONGROPE.exists():
        raise SystemExit(f"there is no release build: {LONGROPE} (make build)")
    if arguments.documents > 1 and "llama.cpp" in arguments.engines:
        raise SystemExit("--documents must be 1 beside llama.cpp: it is given one document")
    arguments.timed = max(1, arguments.documents - 1)
    arguments.shape = SHAPE
    if arguments.model:
        arguments.shape = json.loads((arguments.model / "config.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="longrope-bench-") as name:
        folder = pathlib.Path(name)
        make_inputs(folder, max(lengths), arguments.shape, arguments.model, arguments.documents)
        measured = []
        peaks = {dtype: product_peak(dtype, arguments.threads) for dtype in dtypes}
        for length in lengths:
            for dtype in dtypes:
                measured.append((length, dtype, compare(folder, length, dtype, arguments)))
                peaks[dtype] = max(peaks[dtype], product_peak(dtype, arguments.threads))
    report(measured, arguments, peaks)


if __name__ == "__main__":
    main()
