#!/usr/bin/env python3
"""Compares the training speed of `longrope finetune` with transformers (SDPA, bfloat16 autocast and float32) on the
bundled model: the same documents, batch and optimizer.

Each engine trains in a process of its own, in turn, so that a slow minute of the machine hits all. Loading and the
first update are not timed. Where the CPU has no bfloat16 products, longrope computes in float32 whatever is asked.

    python bench/train_against_transformers.py --length 512 --batch-size 16 --steps 8 --threads 2 --repeats 3

Writes bench/results/<date>-train-against-transformers.md.
"""

import argparse
import datetime
import importlib.metadata
import json
import pathlib
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from measurement import LONGROPE, RESULTS, ROOT, measure, output_of, processor

MODEL = ROOT / "models" / "byte-llama"
LEARNING_RATE = 1e-4
ENGINES = ["longrope fp32", "longrope bf16", "transformers bf16 autocast", "transformers fp32"]


def run_transformers(documents, arguments, autocast):
    """One measurement in this process: prints seconds of the updates after the first and the last loss."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(arguments.threads)
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32, attn_implementation="sdpa")
    model.train()
    tokens = load_file(documents)
    rows = torch.stack([tokens[name][: arguments.length].long() for name in sorted(tokens)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0, fused=True)
    for step in range(arguments.steps):
        if step == 1:
            start = time.perf_counter()
        batch = rows[step * arguments.batch_size : (step + 1) * arguments.batch_size]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            loss = model(batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    print(json.dumps({"seconds": time.perf_counter() - start, "loss": loss.item()}))


def run_longrope(documents, folder, arguments, dtype):
    """Seconds between the first update and the last, as a reader of its progress sees them."""
    out = folder / "out"
    process = subprocess.Popen(
        [str(LONGROPE), "finetune", "--model", str(MODEL), "--documents", str(documents), "--out", str(out), "--length",
         str(arguments.length), "--steps", str(arguments.steps), "--batch-size", str(arguments.batch_size),
         "--micro-batch-size", str(arguments.batch_size), "--learning-rate", str(LEARNING_RATE), "--schedule",
         "constant", "--dtype", dtype, "--threads", str(arguments.threads), "--checkpoint-interval",
         str(arguments.steps + 1)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    start, last = None, None
    for line in process.stderr:
        if start is None and "step 1/" in line:
            start = time.perf_counter()
        if f"step {arguments.steps}/" in line:
            last = time.perf_counter()
    if process.wait() != 0 or start is None or last is None:
        raise SystemExit("longrope finetune failed")
    losses = [json.loads(line)["loss"] for line in (out / "training_log.jsonl").read_text().splitlines()]
    shutil.rmtree(out)
    return {"seconds": last - start, "loss": losses[-1]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=512, help="tokens of a sample (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=16, help="samples of an update (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=8, help="updates; the first is not timed (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--reference", help=argparse.SUPPRESS)
    parser.add_argument("--documents", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.reference:
        run_transformers(arguments.documents, arguments, autocast="bf16" in arguments.reference)
        return
    measured = {engine: [] for engine in ENGINES}
    with tempfile.TemporaryDirectory(prefix="longrope-bench-") as name:
        folder = pathlib.Path(name)
        documents = folder / "train.safetensors"
        subprocess.run([str(LONGROPE), "documents", "--length", str(arguments.length), "--count",
                        str(arguments.batch_size * arguments.steps), "--out", str(documents),
                        str(MODEL / "text" / "train.txt")], check=True, stdout=subprocess.DEVNULL)
        for repeat in range(arguments.repeats):
            for engine, results in measured.items():
                if engine.startswith("longrope"):
                    results.append(run_longrope(documents, folder, arguments, engine.split()[1]))
                else:
                    command = [sys.executable, __file__, "--reference", engine, "--documents", str(documents)]
                    for option in ("length", "batch_size", "steps", "threads"):
                        command += ["--" + option.replace("_", "-"), str(getattr(arguments, option))]
                    results.append(measure(command))
                print(f"repeat {repeat + 1}: {engine} {results[-1]['seconds']:.2f} s", flush=True)
    tokens = (arguments.steps - 1) * arguments.batch_size * arguments.length
    reference = statistics.median(result["seconds"] for result in measured["transformers bf16 autocast"])
    today = datetime.date.today().isoformat()
    changed = " with uncommitted changes" if output_of(["git", "status", "--porcelain"]) else ""
    lines = [
        "# Training the bundled model: longrope beside transformers",
        "",
        f"{today}, commit {output_of(['git', 'rev-parse', '--short', 'HEAD'])}{changed}. Command: "
        f"`{shlex.join(['python', *sys.argv])}`",
        "",
        f"Machine: {processor()}, {arguments.threads} threads, shared with other work; torch "
        f"{importlib.metadata.version('torch')}, transformers {importlib.metadata.version('transformers')}. "
        f"{arguments.batch_size} × {arguments.length} tokens an update, {arguments.steps - 1} updates timed, "
        f"{arguments.repeats} process(es) of each, in turn; seconds are median (minimum–maximum). AdamW, clipping, float32 "
        "masters everywhere. The orders of documents differ; losses are of the last update.",
        "",
        "| engine | seconds | tokens/s | times transformers bf16 | last loss |",
        "|---|---|---|---|---|",
    ]
    for engine, results in measured.items():
        seconds = [result["seconds"] for result in results]
        middle = statistics.median(seconds)
        lines.append(f"| {engine} | {middle:.2f} ({min(seconds):.2f}–{max(seconds):.2f}) | {tokens / middle:.0f} "
                     f"| {reference / middle:.2f} | {results[0]['loss']:.4f} |")
    path = RESULTS / f"{today}-train-against-transformers.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
