#!/usr/bin/env python3
"""Scores one document of 2,097,152 tokens with `longrope score`: time, memory beside the estimate, and what float32
angles change by position.

The model is as small as two cores finish in an hour: one layer, one head, byte-level, trained here for a minute at 512
positions on what the document does not hold, so that attention means something. It reads the document under the YaRN
factors of its length, once with float64 angles and once with the float32 angles of Hugging Face. --window gives it
(as a Mistral) a sliding window, for less time: memory and angles are those of the whole document all the same.

    python bench/score_two_million_tokens.py --window 131072

Writes bench/results/<date>-score-<tokens>-tokens[-in-a-window-of-<window>].md.
"""

import argparse
import csv
import datetime
import json
import math
import pathlib
import shlex
import subprocess
import sys
import tempfile

from measurement import LONGROPE, MEBIBYTE, RESULTS, ROOT, estimated_bytes, measure, output_of, processor
from score_against_engines import SEED

TEXT = ROOT / "models" / "byte-llama" / "text" / "train.txt"
TRAINED = 512  # positions
SHAPE = {
    "vocab_size": 258,
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": TRAINED,
}
BOS = 256
STEPS, BATCH, LEARNING_RATE = 800, 16, 3e-3


def train(folder, text, window):
    """A checkpoint that predicts bytes of `text` better than chance; returns its loss in nats."""
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(SEED)
    torch.set_num_threads(2)
    config = MistralConfig(**SHAPE, bos_token_id=BOS, eos_token_id=BOS + 1, sliding_window=window)
    model = MistralForCausalLM(config)
    tokens = torch.tensor(list(text), dtype=torch.long)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS)
    losses = []
    for _ in range(STEPS):
        begins = torch.randint(0, len(tokens) - TRAINED + 1, (BATCH,)).tolist()
        rows = torch.stack([tokens[begin : begin + TRAINED - 1] for begin in begins])
        batch = torch.cat([torch.full((BATCH, 1), BOS), rows], dim=1)
        loss = model(batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    model.save_pretrained(folder / "model")
    return sum(losses[-50:]) / 50


def score(folder, tokens, angles, arguments):
    path = folder / f"{angles}-{tokens}.csv"
    total = measure([
        str(LONGROPE), "score", "--model", str(folder / "model"), "--documents", str(folder / "documents.safetensors"),
        "--length", str(tokens), "--factors", "yarn", "--angles", angles, "--threads", str(arguments.threads), "--timings",
        "--json", "--by-position", str(path), *(["--sliding-window"] if arguments.window else []),
    ])["total"]
    with open(path, encoding="utf-8", newline="") as file:
        return total, list(csv.DictReader(file))


def by_position(fp64, fp32):
    """Table rows: mean NLL of positions that double from one row to the next."""
    lines, begin = [], 0
    while begin < len(fp64):
        end = max(1, 2 * begin)
        scored = sum(int(block["scored_tokens"]) for block in fp64[begin:end])
        means = [sum(float(block["nll_sum"]) for block in blocks[begin:end]) / scored for blocks in (fp64, fp32)]
        differences = [
            abs(float(a["nll_sum"]) - float(b["nll_sum"])) / int(a["scored_tokens"])
            for a, b in zip(fp64[begin:end], fp32[begin:end], strict=True)
        ]
        lines.append(f"| {fp64[begin]['from_token']}–{fp64[min(end, len(fp64)) - 1]['to_token']} | {means[0]:.6f} "
                     f"| {means[1] - means[0]:+.2e} | {max(differences):.2e} |")
        begin = end
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=2**21, help="of the document (default: %(default)s)")
    parser.add_argument("--window", type=int, help="tokens that a token sees (default: all before it)")
    parser.add_argument("--threads", type=int, default=2, help="(default: %(default)s)")
    arguments = parser.parse_args()
    tokens = arguments.tokens
    with tempfile.TemporaryDirectory(prefix="longrope-bench-") as name:
        folder = pathlib.Path(name)
        text = TEXT.read_bytes()
        (folder / "document.txt").write_bytes(text[: tokens - 1])
        loss = train(folder, text[2**21 :], arguments.window)
        subprocess.run([str(LONGROPE), "documents", "--length", str(tokens), "--count", "1", "--out",
                        str(folder / "documents.safetensors"), str(folder / "document.txt")], check=True)
        shortest, _ = score(folder, 2, "fp64", arguments)
        fp64, fp64_blocks = score(folder, tokens, "fp64", arguments)
        print(json.dumps(fp64["timings"]), flush=True)
        fp32, fp32_blocks = score(folder, tokens, "hf_fp32", arguments)
        estimate = estimated_bytes(folder, tokens) - estimated_bytes(folder, 2)
    measured = fp64["peak_memory_bytes"] - shortest["peak_memory_bytes"]
    today = datetime.date.today().isoformat()
    phases = [f"| {phase} | {found['seconds']:.1f} | {100 * found['seconds'] / fp64['seconds']:.1f} "
              f"| {found['operations'] / found['seconds'] / 1e9:.0f} |" for phase, found in fp64["timings"].items()]
    lines = [
        f"# One document of {tokens:,} tokens" + (f", each sees {arguments.window:,}" if arguments.window else ""),
        "",
        f"{today}, commit {output_of(['git', 'rev-parse', '--short', 'HEAD'])}. Command: "
        f"`{shlex.join(['python', *sys.argv])}`",
        "",
        f"Machine: {processor()}, {arguments.threads} threads, shared with other work. Model: byte-level Mistral, "
        + ", ".join(f"{key} {value}" for key, value in SHAPE.items())
        + f", trained in {STEPS} steps to {loss:.3f} nats a byte at {TRAINED} positions. Factors: YaRN for the length of "
        "the document; weights and arithmetic float32.",
        "",
        f"float64 angles: {fp64['seconds'] / 60:.1f} minutes, perplexity {fp64['perplexity']:.6f}. float32 angles (hf_fp32): "
        f"{fp32['seconds'] / 60:.1f} minutes, perplexity {fp32['perplexity']:.6f}.",
        "",
        f"Peak memory above that of two tokens: {measured / MEBIBYTE:.1f} MiB measured, {estimate / MEBIBYTE:.1f} MiB "
        f"estimated ({100 * (measured / estimate - 1):+.1f} %); {measured / tokens:.0f} bytes a token.",
        "",
        "| phase (float64 angles) | seconds | % | GF/s |",
        "|---|---|---|---|",
        *phases,
        "",
        "NLL in nats a token by position; the last column is the largest difference of a block of 4,096 tokens.",
        "",
        "| positions | float64 angles | float32 angles minus that | largest of a block |",
        "|---|---|---|---|",
        *by_position(fp64_blocks, fp32_blocks),
    ]
    if not math.isfinite(fp64["nll_sum"] + fp32["nll_sum"]):
        raise SystemExit("the NLL is not finite")
    window = f"-in-a-window-of-{arguments.window}" if arguments.window else ""
    path = RESULTS / f"{today}-score-{tokens}-tokens{window}.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
