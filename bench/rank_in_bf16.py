#!/usr/bin/env python3
"""How far bf16 may be trusted in a search: whether it puts the candidates of one in the order that float32 gives them.

Scores 40 candidates of a finished search, spread over it by age, in both dtypes on the search's documents, and compares
the orders (Kendall's tau: 1 for the same order, 0 for no relation) and the NLL of each block of 4,096 tokens.

    make demo
    python bench/rank_in_bf16.py --db build/demo/search.db --model models/byte-llama \
        --documents build/demo/search.safetensors --length 4096

Writes bench/results/<date>-rank-in-bf16.md.
"""

import argparse
import datetime
import itertools
import json
import pathlib
import shlex
import sqlite3
import sys
import tempfile

from measurement import LONGROPE, RESULTS, measure, output_of, processor

BEST = 10


def candidates_of(database, count):
    """`count` candidates of a search, evenly spaced, with different factors."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    rows = connection.execute(
        "SELECT n_hat, attention_policy, attention_factor, lambda FROM v_history WHERE perplexity IS NOT NULL "
        "GROUP BY factors ORDER BY min(k)").fetchall()
    connection.close()
    if len(rows) < count:
        raise SystemExit(f"{database} has {len(rows)} candidates with a perplexity, {count} are needed")
    return [rows[index * len(rows) // count] for index in range(count)]


def write_factors(path, candidate, length):
    n_hat, policy, attention_factor, factors = candidate
    entry = {
        "id": "candidate", "target_len": length, "lambda": json.loads(factors), "lambda_grid": None,
        "steps_per_unit": None, "n_hat": n_hat, "mscale": {"policy": policy, "value": attention_factor},
    }
    path.write_text(json.dumps({"schema": "longrope-factors/1", "factors": [entry]}), encoding="utf-8")


def kendall_tau(left, right):
    """Of two lists of numbers without ties: concordant pairs less discordant ones, of all."""
    pairs = list(itertools.combinations(range(len(left)), 2))
    return sum(1 if (left[a] - left[b]) * (right[a] - right[b]) > 0 else -1 for a, b in pairs) / len(pairs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--db", required=True, help="database of a finished search")
    parser.add_argument("--model", required=True)
    parser.add_argument("--documents", required=True, help="the search's documents")
    parser.add_argument("--length", type=int, required=True, help="tokens of each document")
    parser.add_argument("--candidates", type=int, default=40, help="(default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="(default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="longrope-bench-") as name:
        files = []
        for index, candidate in enumerate(candidates_of(arguments.db, arguments.candidates)):
            files.append(pathlib.Path(name) / f"candidate-{index}.json")
            write_factors(files[-1], candidate, arguments.length)
        found = {
            dtype: measure([
                str(LONGROPE), "score", "--model", arguments.model, "--documents", arguments.documents,
                "--length", str(arguments.length), "--threads", str(arguments.threads), "--dtype", dtype, "--json",
                *itertools.chain.from_iterable(("--factors", str(file)) for file in files),
            ])
            for dtype in ("fp32", "bf16")
        }
    nll = {dtype: [each["total"]["nll_sum"] for each in result["factor_sets"]] for dtype, result in found.items()}
    blocks = {
        dtype: [block[0] for each in result["factor_sets"] for document in each["documents"] for block in document["blocks"]]
        for dtype, result in found.items()
    }
    differences = [abs(b / a - 1) for a, b in zip(blocks["fp32"], blocks["bf16"], strict=True)]
    by_fp32 = sorted(range(len(files)), key=nll["fp32"].__getitem__)
    by_bf16 = sorted(range(len(files)), key=nll["bf16"].__getitem__)
    best = by_fp32[:BEST]
    tau_of_best = kendall_tau([nll["fp32"][index] for index in best], [nll["bf16"][index] for index in best])
    today = datetime.date.today().isoformat()
    lines = [
        "# Candidates of a search, ranked in float32 and in bf16",
        "",
        f"{today}, commit {output_of(['git', 'rev-parse', '--short', 'HEAD'])}. Command: "
        f"`{shlex.join(['python', *sys.argv])}`",
        "",
        f"Machine: {processor()}. fp32: {found['fp32']['device']}. bf16: {found['bf16']['device']}.",
        "",
        f"{len(files)} candidates of the search, {arguments.length} tokens of each of its documents.",
        "",
        "| | |",
        "|---|---|",
        f"| Kendall's tau, all | {kendall_tau(nll['fp32'], nll['bf16']):.3f} |",
        f"| Kendall's tau, the best {BEST} | {tau_of_best:.3f} |",
        f"| the best of float32 in bf16 | place {by_bf16.index(by_fp32[0]) + 1} |",
        f"| NLL of one block, largest difference | {100 * max(differences):.3f} % |",
        f"| NLL of one block, median difference | {100 * sorted(differences)[len(differences) // 2]:.3f} % |",
    ]
    path = RESULTS / f"{today}-rank-in-bf16.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
