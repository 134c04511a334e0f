#!/usr/bin/env python3
"""Compares the peak memory of `longrope score` with the estimate of `longrope inspect-model`, by which documents are
refused.

A random Llama with the proportions of SmolLM-135M but two layers: memory does not depend on how many there are, time
does. What the process takes anyhow (libraries, weights, one layer) is measured with a document of two tokens and
subtracted from both.

    python bench/memory_against_estimate.py --lengths 16384,65536

Writes bench/results/<date>-memory-against-estimate.md.
"""

import argparse
import datetime
import pathlib
import shlex
import sys
import tempfile

from measurement import LONGROPE, MEBIBYTE, RESULTS, estimated_bytes, measure, output_of, processor
from score_against_engines import SHAPE, make_inputs

SHORTEST = 2
LAYERS = 2


def peak_bytes(folder, length, threads, gradient):
    return measure([
        str(LONGROPE), "score", "--model", str(folder / "model"), "--documents", str(folder / "documents.safetensors"),
        "--length", str(length), "--threads", str(threads), "--json", *gradient,
    ])["total"]["peak_memory_bytes"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", default="16384,65536", help="tokens, comma-separated (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--gradient", action="store_true", help="of a gradient with respect to the factors")
    parser.add_argument("--layers", type=int, default=LAYERS, help="(default: %(default)s)")
    arguments = parser.parse_args()
    gradient = ["--gradient"] if arguments.gradient else []
    lengths = [int(length) for length in arguments.lengths.split(",")]
    rows = []
    with tempfile.TemporaryDirectory(prefix="longrope-bench-") as name:
        folder = pathlib.Path(name)
        make_inputs(folder, max(lengths), SHAPE | {"num_hidden_layers": arguments.layers})
        shortest_peak = peak_bytes(folder, SHORTEST, arguments.threads, gradient)
        shortest_estimate = estimated_bytes(folder, SHORTEST, gradient)
        for length in lengths:
            measured = peak_bytes(folder, length, arguments.threads, gradient) - shortest_peak
            estimated = estimated_bytes(folder, length, gradient) - shortest_estimate
            rows.append(f"| {length} | {measured / MEBIBYTE:.1f} | {estimated / MEBIBYTE:.1f} "
                        f"| {100 * (measured / estimated - 1):+.1f} % | {measured / length:.0f} |")
            print(rows[-1], flush=True)
    today = datetime.date.today().isoformat()
    heads, head_dim = SHAPE["num_key_value_heads"], SHAPE["head_dim"]
    lines = [
        "# Memory of a document and its estimate",
        "",
        f"{today}, commit {output_of(['git', 'rev-parse', '--short', 'HEAD'])}. Command: "
        f"`{shlex.join(['python', *sys.argv])}`",
        "",
        f"Machine: {processor()}, {arguments.threads} threads. Random Llama of {arguments.layers} layers, float32, hidden_size "
        f"{SHAPE['hidden_size']}, {heads} key-value heads of {head_dim}. Peak resident memory of `longrope score{' --gradient' if arguments.gradient else ''}` above "
        f"that for {SHORTEST} tokens ({shortest_peak / MEBIBYTE:.1f} MiB), beside the same difference of estimates.",
        "",
        *([] if arguments.gradient else [
            f"One row of the residual stream and one layer's keys and values are {4 * SHAPE['hidden_size']} + "
            f"{4 * 2 * heads * head_dim} bytes; the estimate adds 16 for ids and positions, and the tile.",
            "",
        ]),
        "| tokens | measured MiB | estimated MiB | measured beyond estimate | measured bytes a token |",
        "|---|---|---|---|---|",
        *rows,
    ]
    path = RESULTS / f"{today}-memory{'-of-a-gradient' if arguments.gradient else ''}-against-estimate.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
