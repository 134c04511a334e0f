"""NLL of factor sets on the final documents, scored once and kept in a file."""

import json
import os
import subprocess

AT_ONCE = 12  # factor sets of one process; what it measured is lost when it is interrupted


def write_factors(path, row, length):
    """Canonical factors of a row of a history (schemas/factors_file.md)."""
    entry = {
        "id": "candidate", "target_len": length, "lambda": row["lambda"], "lambda_grid": None, "steps_per_unit": None,
        "n_hat": row["n_hat"], "mscale": {"policy": row["policy"], "value": row["attention_factor"]},
    }
    path.write_text(json.dumps({"schema": "longrope-factors/1", "factors": [entry]}), encoding="utf-8")


def documents_of(report):
    """[{"nll": [per document], "tokens": [per document]}] of `longrope score --json`, one for each factor set."""
    return [{"nll": [document["nll_sum"] for document in each["documents"]],
             "tokens": [document["scored_tokens"] for document in each["documents"]]}
            for each in report.get("factor_sets", [report])]


def missing(wanted, scores):
    """The entries of {key: …} that have no score yet, in groups that one process scores."""
    keys = [key for key in wanted if key not in scores]
    return [keys[begin:begin + AT_ONCE] for begin in range(0, len(keys), AT_ONCE)]


class FinalScores:
    """Scores of one model and length. `identity` says of which documents, weights and arithmetic; scores of another
    one that lie in the file are not used."""

    def __init__(self, file, identity, command):
        self.file = file
        self.identity = identity
        self.command = command  # longrope score … without factors
        self.scores = {}
        if file.exists():
            kept = json.loads(file.read_text(encoding="utf-8"))
            if kept["identity"] == identity:
                self.scores = kept["scores"]

    def score(self, wanted, options=()):
        """Scores what is missing of {key: argument of --factors}. `options` hold for all of them."""
        for keys in missing(wanted, self.scores):
            print(f"score {len(keys)} factor sets on the final documents", flush=True)
            factors = [part for key in keys for part in ("--factors", str(wanted[key]))]
            done = subprocess.run([*self.command, *options, *factors], stdout=subprocess.PIPE, text=True, check=True)
            self.scores.update(zip(keys, documents_of(json.loads(done.stdout)), strict=True))
            self.write()

    def write(self):
        fresh = self.file.with_suffix(".fresh")
        fresh.write_text(json.dumps({"identity": self.identity, "scores": self.scores}), encoding="utf-8")
        os.replace(fresh, self.file)
