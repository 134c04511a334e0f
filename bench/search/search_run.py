"""One search of the bench: its configuration, whether it has to be run, and what its database says afterwards."""

import csv
import dataclasses
import hashlib
import io
import json
import pathlib
import sqlite3
import subprocess
from typing import Optional

# The paper's search and the released one: P + T·(N1 + N2) = 1,344 candidates on five documents, their defaults.
BASELINE_PASSES = 6720
BASELINE_DOCUMENTS = 5
BASELINE_HELDOUT = 16
BASELINE_FINALISTS = 8


@dataclasses.dataclass(frozen=True)
class Settings:
    """What determines a search, beside model and documents. Nothing in it differs from machine to machine."""

    method: str
    seed: int
    length: int  # tokens of a document
    passes: int  # budget in document passes
    dtype: str
    threads: int  # of one worker
    search_count: Optional[int]  # documents of a candidate; None: all of the file, of which a gradient takes few
    heldout_count: int
    finalists: int
    choice_within_budget: bool  # the passes of the finalists on held-out documents are part of the budget
    keys: tuple[tuple[str, str], ...] = ()  # of [stage.search], values as TOML has them

    @property
    def label(self):
        space = dict(self.keys).get("space")
        return self.method if space is None else f"{self.method} {space.strip(chr(34))}"

    @property
    def folder(self):
        """Name of the run's folder: other settings are another folder."""
        others = hashlib.sha256(json.dumps(dataclasses.asdict(self)).encode()).hexdigest()[:8]
        return f"{self.label.replace(' ', '-')}-{self.passes}-seed{self.seed}-{others}"


def baseline(method, seed, length, dtype, threads, keys):
    """A search as published: its choice among finalists comes on top of its budget."""
    return Settings(method, seed, length, BASELINE_PASSES, dtype, threads, BASELINE_DOCUMENTS, BASELINE_HELDOUT,
                    BASELINE_FINALISTS, choice_within_budget=False, keys=keys)


def paper_baseline(seed, length, dtype, threads):
    """(b): the paper's search from the closed forms with m = 1, which is not searched."""
    return baseline("longrope", seed, length, dtype, threads,
                    (("seeds", '["pi", "ntk", "yarn"]'), ("attention_policies", '["none"]')))


def authors_baseline(seed, length, dtype, threads):
    """(a): the search as released."""
    return baseline("authors", seed, length, dtype, threads,
                    (("seeds", '["ramp"]'), ("attention_policies", '["su"]'), ("upper_bound", '"1+s"')))


def stop_line(settings):
    """The line of [stage.stop] that ends the search at its budget; `gradient` counts the choice among finalists
    itself."""
    if settings.method == "gradient":
        return f"max_passes = {settings.passes}"
    passes = settings.passes
    if settings.choice_within_budget:
        passes -= settings.finalists * settings.heldout_count
    candidates = passes // settings.search_count
    if candidates < 1:
        raise SystemExit(f"the budget must allow for a candidate beside the choice among finalists: {settings.passes} "
                         f"passes, {settings.finalists} finalists × {settings.heldout_count} held-out documents, "
                         f"{settings.search_count} documents of a candidate")
    return f"max_candidates = {candidates}"


def configuration(settings, model, documents):
    """The TOML file of the search."""
    def quoted(path):
        return json.dumps(str(path))  # a TOML basic string has the escapes of JSON

    count = [] if settings.search_count is None else [f"search_count = {settings.search_count}"]
    return "\n".join([
        "[run]",
        f'name = "{settings.folder}"',
        f"seed = {settings.seed}",
        "[model]",
        f"path = {quoted(model)}",
        f'dtype = "{settings.dtype}"',
        "[worker]",
        f"threads = {settings.threads}",
        "[[stage]]",
        'name = "search"',
        f"target_length = {settings.length}",
        f"search_documents = {quoted(documents / 'documents-search.safetensors')}",
        f"heldout_documents = {quoted(documents / 'documents-held.safetensors')}",
        *count,
        f"heldout_count = {settings.heldout_count}",
        f"finalists = {settings.finalists}",
        "[stage.search]",
        f'method = "{settings.method}"',
        *(f"{key} = {value}" for key, value in settings.keys),
        "[stage.stop]",
        stop_line(settings),
    ]) + "\n"


def stage_states(database):
    """States of the stages of a database; None: there is no database, or nothing in it yet."""
    if not database.exists():
        return None
    connection = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)
    try:
        return [state for state, in connection.execute("SELECT state FROM stage ORDER BY id")] or None
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return None
        raise
    finally:
        connection.close()


def next_action(written, wanted, states):
    """"begin", "continue" or "finished", by the configuration that lies in the folder, the one wanted and the states of
    the database."""
    if states is None:
        return "begin"
    if written != wanted:
        raise ValueError("the configuration must be that of the database")
    return "finished" if all(state == "finished" for state in states) else "continue"


def run_search(program, settings, folder, model, documents, workers, device):
    """Begins or continues the search in `folder`, unless it is finished. Returns the database."""
    config, database = folder / "search.toml", folder / "search.db"
    wanted = configuration(settings, model, documents)
    written = config.read_text(encoding="utf-8") if config.exists() else None
    try:
        action = next_action(written, wanted, stage_states(database))
    except ValueError as error:
        raise SystemExit(f"{error}: {config}; delete the folder to search again") from error
    if action == "finished":
        return database
    print(f"{action} {folder.name} at {settings.length} tokens", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    config.write_text(wanted, encoding="utf-8")
    with open(folder / "run.log", "a", encoding="utf-8") as log:
        process = subprocess.Popen([str(program), "run", str(config), "--db", str(database), "--workers", str(workers),
                                    "--device", device], stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.terminate()  # once: it has no part in the terminal's interrupts
            process.wait()
            raise
    if code != 0:
        end = (folder / "run.log").read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
        raise SystemExit("\n".join([f"longrope run failed with exit code {code} ({folder / 'run.log'}):", *end]))
    return database


def read_history(text):
    """Rows of `longrope history --format csv`, numbers and arrays parsed; "" is None."""
    rows = []
    for row in csv.DictReader(io.StringIO(text)):
        rows.append({
            "candidate": int(row["candidate"]),
            "state": row["state"],
            "digest": row["factors_digest"],
            "n_hat": int(row["n_hat"]),
            "policy": row["attention_policy"],
            "attention_factor": float(row["attention_factor"]),
            "lambda": json.loads(row["lambda"]),
            "passes": float(row["document_passes"] or 0),
            "perplexity": float(row["perplexity"]) if row["perplexity"] else None,
            "heldout": float(row["heldout_perplexity"]) if row["heldout_perplexity"] else None,
        })
    return rows


def winner_of(history):
    """The row of the finalist that is best on the held-out documents; of equal ones the earliest."""
    finalists = [row for row in history if row["heldout"] is not None]
    if not finalists:
        raise ValueError("no candidate of the history was scored on held-out documents")
    return min(finalists, key=lambda row: (row["heldout"], row["candidate"]))


def incumbents(history, points):
    """{passes: row}: the best candidate on the search documents once so many passes were spent, for each of `points`
    that the search reached. Candidates must have been scored on the same documents."""
    found, spent, best = {}, 0.0, None
    left = sorted(points)
    for row in history:
        spent += row["passes"]
        while left and spent > left[0]:
            point = left.pop(0)
            if best is not None:
                found[point] = best
        if row["perplexity"] is not None and (best is None or row["perplexity"] < best["perplexity"]):
            best = row
    if left and spent == left[0] and best is not None:
        found[left[0]] = best
    return found


@dataclasses.dataclass(frozen=True)
class Cost:
    """Evaluations that a search spent: those of its candidates on search documents, and of finalists on held-out ones
    too. The baselines of `longrope best` do not count."""

    scores: int
    gradients: int
    score_seconds: float  # mean of one
    gradient_seconds: float

    @property
    def ratio(self):
        """Seconds of a gradient by seconds of a score: the passes that a gradient counts as."""
        return self.gradient_seconds / self.score_seconds if self.gradients else 0.0

    @property
    def passes(self):
        return self.scores + self.ratio * self.gradients


SPENT = """
SELECT kind, count(*), avg(seconds) FROM evaluation
WHERE state = 'scored' AND (
  EXISTS (SELECT 1 FROM candidate_evaluation JOIN candidate ON candidate.id = candidate_evaluation.candidate
          WHERE candidate_evaluation.evaluation = evaluation.id AND candidate.role = 'search')
  OR EXISTS (SELECT 1 FROM candidate JOIN stage ON stage.id = candidate.stage
             JOIN stage_document ON stage_document.stage = stage.id AND stage_document.purpose = 'heldout'
             WHERE candidate.role = 'search' AND candidate.heldout_mean_nll IS NOT NULL
               AND candidate.factors = evaluation.factors AND stage_document.document = evaluation.document
               AND stage.target_length = evaluation.length))
GROUP BY kind
"""


def spent(connection):
    found = {kind: (count, seconds) for kind, count, seconds in connection.execute(SPENT)}
    scores, gradients = found.pop("score", (0, 0.0)), found.pop("gradient", (0, 0.0))
    if found:
        raise ValueError(f"unknown kinds of evaluation: {', '.join(found)}")
    return Cost(scores[0], gradients[0], scores[1], gradients[1])


def cost_of(database):
    connection = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)
    try:
        return spent(connection)
    finally:
        connection.close()


def scored_by_kind(status):
    """{kind: evaluations} of `longrope status --json`, those of its baselines included."""
    return {cost["kind"]: cost["scored"] for cost in status["costs"]}


def output_of_program(program, *arguments):
    return subprocess.run([str(program), *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=True).stdout


def digest_of_files(paths):
    """{name: SHA-256}."""
    return {path.name: hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest() for path in sorted(paths)}
