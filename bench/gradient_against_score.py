#!/usr/bin/env python3
"""Measures what a gradient with respect to the factors costs, as a multiple of scoring the same document.

    python bench/gradient_against_score.py --lengths 2048,4096 --threads 1

Both are `longrope score` on the bundled model, one of them with --gradient, interleaved; the ratio is of medians. Writes
bench/results/<date>-gradient-against-score.md.
"""

import argparse
import datetime
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile

from measurement import LONGROPE, RESULTS, ROOT, measure, output_of, processor

MODEL = ROOT / "models" / "byte-llama"


def seconds(documents, length, dtype, threads, options):
    total = measure([
        str(LONGROPE), "score", "--model", str(MODEL), "--documents", str(documents), "--count", "1", "--length",
        str(length), "--factors", "yarn", "--dtype", dtype, "--threads", str(threads), "--json", *options,
    ])["total"]
    return total["seconds"]


def row(documents, length, dtype, threads, repeats):
    scores, gradients = [], []
    for _ in range(repeats):
        scores.append(seconds(documents, length, dtype, threads, []))
        gradients.append(seconds(documents, length, dtype, threads, ["--gradient"]))
    score, gradient = statistics.median(scores), statistics.median(gradients)
    return f"| {length} | {dtype} | {threads} | {score:.3f} | {gradient:.3f} | {gradient / score:.2f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", default="2048,4096", help="tokens, comma-separated (default: %(default)s)")
    parser.add_argument("--dtypes", default="fp32,bf16", help="(default: %(default)s)")
    parser.add_argument("--threads", default="1,2", help="comma-separated (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="(default: %(default)s)")
    arguments = parser.parse_args()
    lengths = [int(length) for length in arguments.lengths.split(",")]
    rows = []
    with tempfile.TemporaryDirectory(prefix="longrope-bench-") as name:
        documents = pathlib.Path(name) / "documents.safetensors"
        subprocess.run([str(LONGROPE), "documents", "--length", str(max(lengths)), "--count", "1", "--out", str(documents),
                        str(MODEL / "text" / "search.txt")], stdout=subprocess.DEVNULL, check=True)
        for length in lengths:
            for dtype in arguments.dtypes.split(","):
                for threads in arguments.threads.split(","):
                    rows.append(row(documents, length, dtype, int(threads), arguments.repeats))
                    print(rows[-1], flush=True)
    today = datetime.date.today().isoformat()
    lines = [
        "# A gradient with respect to the factors, in scores of the same document",
        "",
        f"{today}, commit {output_of(['git', 'rev-parse', '--short', 'HEAD'])}. Command: "
        f"`{shlex.join(['python', *sys.argv])}`",
        "",
        f"Machine: {processor()}. The bundled model, YaRN's factors, one document, {arguments.repeats} repeats of each, "
        "interleaved; medians.",
        "",
        "| tokens | dtype | threads | score, s | gradient, s | ratio |",
        "|---|---|---|---|---|---|",
        *rows,
    ]
    (RESULTS / f"{today}-gradient-against-score.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
