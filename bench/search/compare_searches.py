#!/usr/bin/env python3
"""Compares search methods with (a) the `authors` search as released and (b) the paper's search from the closed forms
with m = 1, both with 1,344 candidates on five documents each: 6,720 document passes (dp).

Winners are judged by 16 final documents of TEXT/heldout.txt; search and choice take theirs from TEXT/search.txt. All
runs lie under --out; interrupted, the same command goes on where it was. Baselines that are committed in
bench/search/baselines/ are not run again.

    python bench/search/compare_searches.py --lengths 2048,4096 --seeds 1-12 --passes 134,336,672
    python bench/search/compare_searches.py --lengths 4096 --seeds 1-3 --passes 134 --space full,yarn,theta
    python bench/search/compare_searches.py --methods random --passes 672 --key 'attention_policies=["none"]'

Writes bench/results/<date>-search-….md.
"""

import argparse
import dataclasses
import datetime
import json
import pathlib
import re
import shlex
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import baseline_records
from final_scores import FinalScores, write_factors
from measurement import LONGROPE, RESULTS, ROOT, output_of, processor
from result_page import LengthResult, Outcome, page
from search_run import (BASELINE_DOCUMENTS, BASELINE_FINALISTS, BASELINE_HELDOUT, BASELINE_PASSES, Cost, Settings,
                        authors_baseline, cost_of, digest_of_files, incumbents, output_of_program, paper_baseline,
                        read_history, run_search, scored_by_kind, winner_of)

FINAL_DOCUMENTS = 16
CURVE = [16, 32, 64, 134, 336, 672, 1344, 2688, 4032, 5376]
CLOSED_FORMS = {"untouched": ("none", ()), "PI": ("pi", ()), "NTK": ("ntk", ()), "YaRN": ("yarn", ()),
                "YaRN, m = 1": ("yarn", ("--attention-factor", "none"))}


def whole_numbers(text):
    """"1-3,7": [1, 2, 3, 7]."""
    numbers = []
    for part in text.split(","):
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if not found or int(found[2] or found[1]) < int(found[1]):
            raise argparse.ArgumentTypeError(f"numbers and ranges must be like 1-3,7: {part}")
        numbers += range(int(found[1]), int(found[2] or found[1]) + 1)
    return numbers


def names(text):
    return text.split(",")


def search_key(text):
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"a key of [stage.search] must be KEY=VALUE: {text}")
    return key.strip(), value.strip()


def parsed():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", type=pathlib.Path, default=ROOT / "models" / "byte-llama",
        help="Hugging Face directory of a byte-level model (default: models/byte-llama)")
    add("--text", type=pathlib.Path,
        help="folder with search.txt and heldout.txt (default: text in the model's folder)")
    add("--lengths", type=whole_numbers, default=[2048, 4096], help="tokens (default: 2048,4096)")
    add("--methods", type=names, default=["gradient"], help="(default: gradient)")
    add("--space", type=names, default=["full"], help="spaces of the method gradient (default: full)")
    add("--key", type=search_key, action="append", default=[], metavar="KEY=VALUE",
        help="another key of [stage.search] for the methods, its value as TOML has it; may be repeated")
    add("--seeds", type=whole_numbers, default=list(range(1, 13)), help="of the methods (default: 1-12)")
    add("--passes", type=whole_numbers, default=[134, 336, 672], help="budgets in dp (default: 134,336,672)")
    add("--heldout-count", type=int, default=5, help="held-out documents of a method (default: %(default)s)")
    add("--finalists", type=int, default=4, help="of a method (default: %(default)s)")
    add("--longrope-seeds", type=whole_numbers, default=[1, 2, 3], help="of (b) (default: 1-3)")
    add("--authors-seeds", type=whole_numbers, default=[1], help="of (a) (default: 1)")
    add("--baselines-only", action="store_true", help="run (a) and (b), write their histories, and stop")
    add("--rerun-baselines", action="store_true", help="run (a) and (b) although their histories are committed")
    add("--dtype", choices=("fp32", "bf16"), default="fp32", help="(default: %(default)s)")
    add("--device", default="cpu", help="(default: %(default)s)")
    add("--workers", type=int, default=2, help="of a search, and threads of the final scores (default: %(default)s)")
    add("--threads", type=int, default=1, help="of one worker (default: %(default)s)")
    add("--out", type=pathlib.Path, default=ROOT / "build" / "search-bench", help="(default: build/search-bench)")
    add("--program", type=pathlib.Path, default=LONGROPE, help="longrope (default: build/bin/longrope)")
    arguments = parser.parse_args()
    arguments.model = arguments.model.resolve()
    arguments.text = (arguments.text or arguments.model / "text").resolve()
    for name in ("search.txt", "heldout.txt"):
        if not (arguments.text / name).is_file():
            parser.error(f"--text must name a folder with search.txt and heldout.txt: {arguments.text}")
    return arguments


def method_settings(arguments, length):
    """Settings of all searches to compare, the small budgets of all seeds first."""
    found = []
    for method in arguments.methods:
        is_gradient = method == "gradient"
        for space in arguments.space if is_gradient else ["full"]:
            keys = (*arguments.key, *(() if space == "full" else (("space", f'"{space}"'),)))
            for passes in sorted(arguments.passes):
                for seed in arguments.seeds:
                    found.append(Settings(method, seed, length, passes, arguments.dtype, arguments.threads,
                                          None if is_gradient else BASELINE_DOCUMENTS, arguments.heldout_count,
                                          arguments.finalists, choice_within_budget=True, keys=keys))
    return found


def make_documents(arguments, folder, length):
    """documents-search, documents-held and final of one length; what lies in the folder already is taken as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(arguments.program), "documents", "--length", str(length)]
    if not (folder / "documents-search.safetensors").exists() or not (folder / "documents-held.safetensors").exists():
        subprocess.run([*command, "--split", "search:0.9,held:0.1", "--out", str(folder / "documents.safetensors"),
                        str(arguments.text / "search.txt")], check=True)
    if not (folder / "final.safetensors").exists():
        subprocess.run([*command, "--count", str(FINAL_DOCUMENTS), "--out", str(folder / "final.safetensors"),
                        str(arguments.text / "heldout.txt")], check=True)


class Bench:
    """Searches and final scores of one length."""

    def __init__(self, arguments, length):
        self.arguments = arguments
        self.length = length
        self.folder = arguments.out.resolve() / f"{arguments.model.name}-{length}-{arguments.dtype}"
        make_documents(arguments, self.folder, length)
        weights = [arguments.model / "config.json", *arguments.model.glob("*.safetensors")]
        self.inputs = digest_of_files([*weights, self.folder / "documents-search.safetensors",
                                       self.folder / "documents-held.safetensors"])
        threads = arguments.workers * arguments.threads
        identity = {**digest_of_files([*weights, self.folder / "final.safetensors"]), "length": length,
                    "dtype": arguments.dtype, "threads": threads, "device": arguments.device}
        self.scores = FinalScores(self.folder / "final-scores.json", identity, [
            str(arguments.program), "score", "--model", str(arguments.model), "--documents",
            str(self.folder / "final.safetensors"), "--length", str(length), "--dtype", arguments.dtype, "--device",
            arguments.device, "--threads", str(threads), "--json"])

    def program(self, *arguments):
        return output_of_program(self.arguments.program, *arguments)

    def run(self, settings):
        folder = self.folder / settings.folder
        database = run_search(self.arguments.program, settings, folder, self.arguments.model, self.folder,
                              self.arguments.workers, self.arguments.device)
        status = json.loads(self.program("status", "--db", database, "--json"))
        return folder, database, cost_of(database), scored_by_kind(status), status

    def search(self, settings):
        """(what an Outcome needs but the scores, digest of the winner, file of its factors)."""
        folder, database, cost, all_scored, _ = self.run(settings)
        best = json.loads(self.program("best", "--db", database, "--json"))
        if not best["final"]:
            raise SystemExit(f"the search has no winner: {database}")
        winner = folder / "winner.json"
        self.program("export", "--db", database, "--model", self.arguments.model, "--format", "json", "--force",
                     "--out", winner)
        print(f"{settings.label} {settings.passes} dp seed {settings.seed}: held out {best['heldout_perplexity']:.4f}, "
              f"{cost.scores} scores, {cost.gradients} gradients of {cost.ratio:.2f} dp, {cost.passes:.1f} dp",
              flush=True)
        known = {"settings": settings, "origin": best["origin"], "cost": cost, "all_scored": all_scored,
                 "heldout": best["heldout_perplexity"]}
        return known, best["factors_digest"], winner

    def baseline(self, settings):
        """(history, what is known of the run): the committed ones, or those of a search that is run now."""
        name = baseline_records.record_name(self.arguments.model.name, settings)
        wanted = baseline_records.description(settings, self.inputs)
        if not self.arguments.rerun_baselines:
            record = baseline_records.read_record(baseline_records.FOLDER, name, wanted)
            if record is not None:
                return record
        _, database, cost, all_scored, status = self.run(settings)
        history = self.program("history", "--db", database, "--format", "csv", "--no-timing")
        best = json.loads(self.program("best", "--db", database, "--json"))
        if best["candidate"] != winner_of(read_history(history))["candidate"]:
            raise SystemExit(f"the history and the database name different winners: {database}")
        run = {"commit": output_of(["git", "rev-parse", "--short", "HEAD"]), "processor": processor(),
               "devices": sorted({worker["device"] for worker in status["workers"]}),
               "active_seconds": sum(stage["active_seconds"] for stage in status["stages"]),
               "cost": dataclasses.asdict(cost), "all_scored": all_scored}
        baseline_records.write_record(baseline_records.FOLDER, name, wanted, history, run)
        return history, run

    def baselines(self, kind, seeds):
        """[(settings, rows of the history, what is known of the run)]."""
        found = []
        for seed in seeds:
            settings = kind(seed, self.length, self.arguments.dtype, self.arguments.threads)
            history, run = self.baseline(settings)
            found.append((settings, read_history(history), run))
        return found

    def score_rows(self, rows):
        """Scores rows of histories."""
        files = {}
        for row in rows:
            files[row["digest"]] = self.folder / f"factors-{row['digest'][:16]}.json"
            write_factors(files[row["digest"]], row, self.length)
        self.scores.score(files)

    def nll(self, key):
        return self.scores.scores[key]["nll"]

    def result(self):
        arguments = self.arguments
        groups = [self.baselines(authors_baseline, arguments.authors_seeds),
                  self.baselines(paper_baseline, arguments.longrope_seeds)]
        if arguments.baselines_only:
            return None
        searches = [self.search(settings) for settings in method_settings(arguments, self.length)]
        self.scores.score({digest: winner for _, digest, winner in searches})
        for name, (form, options) in CLOSED_FORMS.items():
            self.scores.score({name: form}, options)
        points = sorted({*CURVE, *arguments.passes} - {BASELINE_PASSES})
        reached = [[incumbents(history, points) for _, history, _ in group] for group in groups]
        self.score_rows(winner_of(history) for group in groups for _, history, _ in group)
        self.score_rows(row for group in reached for rows in group for row in rows.values())
        outcomes = [[self.outcome_of_history(*each) for each in group] for group in groups]
        result = LengthResult(self.length, self.scores.scores["YaRN"]["tokens"],
                              {name: self.nll(name) for name in CLOSED_FORMS}, paper=outcomes[1], authors=outcomes[0],
                              searches=[Outcome(**known, nll=self.nll(digest)) for known, digest, _ in searches])
        for label, group in zip(("(a)", "(b)"), reached, strict=True):
            result.incumbents[label] = {
                point: [self.nll(rows[point]["digest"]) for rows in group]
                for point in points if group and all(point in rows for rows in group)}
        return result

    def outcome_of_history(self, settings, history, run):
        winner = winner_of(history)
        return Outcome(settings, f"candidate {winner['candidate']}", self.nll(winner["digest"]), Cost(**run["cost"]),
                       run["all_scored"], winner["heldout"])


def interrupted(*_):
    raise KeyboardInterrupt


def main():
    signal.signal(signal.SIGTERM, interrupted)
    arguments = parsed()
    command = [part.replace(f"{ROOT}/", "") for part in ["python", *sys.argv]]
    results = [Bench(arguments, length).result() for length in arguments.lengths]
    if arguments.baselines_only:
        return
    today = datetime.date.today().isoformat()
    spaces = [space for space in arguments.space if space != "full"]
    about = [
        f"{today}, commit {output_of(['git', 'rev-parse', '--short', 'HEAD'])}. Command: "
        f"`{shlex.join(command)}`", "",
        f"Machine: {processor()}, {arguments.workers} workers of {arguments.threads} threads on {arguments.device}. "
        f"Model {arguments.model.name}, {arguments.dtype}. A method chooses among {arguments.finalists} finalists by "
        f"{arguments.heldout_count} held-out documents, a baseline among {BASELINE_FINALISTS} by {BASELINE_HELDOUT}. "
        f"The method gradient takes its documents from all search documents; a candidate of any other is scored on "
        f"the first {BASELINE_DOCUMENTS}.", ""]
    name = "-".join([*arguments.methods, *spaces, *map(str, arguments.lengths)])
    path = RESULTS / f"{today}-search-{arguments.model.name}-{name}.md"
    text = page(f"Searches for {arguments.model.name}: {', '.join(arguments.methods)}", about, results)
    path.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on")
