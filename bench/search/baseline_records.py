"""Committed baselines of the bench: the history of a search as CSV, and beside it what it was a search of."""

import dataclasses
import json
import pathlib

FOLDER = pathlib.Path(__file__).resolve().parent / "baselines"


def record_name(model, settings):
    return f"{model}-{settings.length}-{settings.method}-seed{settings.seed}-{settings.dtype}"


def description(settings, inputs):
    """What a history is a function of: settings, and the SHA-256 of model and documents files by their names."""
    return {"settings": json.loads(json.dumps(dataclasses.asdict(settings))), "inputs": inputs}


def read_record(folder, name, wanted):
    """(history as CSV, what is known of the run), or None when there is no such record. One of something else than
    what is wanted is refused: it would be compared with searches of other documents."""
    file = folder / f"{name}.json"
    if not file.exists():
        return None
    kept = json.loads(file.read_text(encoding="utf-8"))
    for key, value in wanted.items():
        if kept[key] != value:
            raise SystemExit(f"{key} of a committed baseline must be those of the comparison: {kept[key]} instead of "
                             f"{value} ({file}); --rerun-baselines searches again")
    return (folder / f"{name}.csv").read_text(encoding="utf-8"), kept["run"]


def write_record(folder, name, wanted, history, run):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.csv").write_text(history, encoding="utf-8")
    (folder / f"{name}.json").write_text(json.dumps({**wanted, "run": run}, indent=1) + "\n", encoding="utf-8")
