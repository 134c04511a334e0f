#!/usr/bin/env python3
"""How far the time left that a finished search announced was from the truth.

  bench/eta_against_truth.py --log search.log              the plain lines of longrope run, as in a file (> search.log)
  bench/eta_against_truth.py --db search.db                replays the results of the database by the rule of the display

prints a table: at 20, 40, 60 and 80 % of the time from the first result to the end, the time that was announced to be
left, the time that was left, and the error in percent of that. Begin a search with nothing else on the machine:

  build/bin/longrope run configs/byte-llama-demo.toml --db build/demo/search.db --workers 2 | tee build/demo/search.log

A stop rule that ends the search early makes the truth shorter than "at most"; the table says when it did. --limit 15
fails when an error is larger, in a search that used its whole budget.
"""

import argparse
import datetime
import re
import sqlite3
import sys

SHARES = (0.2, 0.4, 0.6, 0.8)
LINE = re.compile(r"^(\S+T\S+) stage (\S+)(?: \(\d+ of \d+\))?: (.*)$")
LEFT = re.compile(r"(?:at most )?((?:\d+:)?\d+:\d\d) left")
ROUNDS_AT_LEAST = 4  # as cli/search_estimate.cpp


def seconds(text):
    """Seconds of M:SS or H:MM:SS."""
    total = 0
    for part in text.split(":"):
        total = 60 * total + int(part)
    return total


def announced_in_log(path):
    """[(time, seconds left or None)] of the lines of a log, times in seconds; the last line is the end."""
    moments = []
    with open(path, encoding="utf-8") as log:
        for line in log:
            found = LINE.match(line.strip())
            if not found:
                continue
            left = LEFT.search(found[3])
            moments.append((datetime.datetime.fromisoformat(found[1]).timestamp(), seconds(left[1]) if left else None))
    return moments, None


def announced_from_database(path):
    """What the display would have announced after each result of the last stage, and why its search ended."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    stage, name, length, reason, ended = connection.execute(
        "SELECT id, name, target_length, end_reason, ended_at FROM stage WHERE state = 'finished' "
        "ORDER BY id DESC LIMIT 1").fetchone()
    (budget, told), = connection.execute("SELECT budget, told + quarantined FROM v_progress WHERE stage = ?", [stage])
    (documents,), = connection.execute(
        "SELECT count(*) FROM stage_document WHERE stage = ? AND purpose = 'search'", [stage])
    # The purpose of each result, in the order of their arrival; two leases of one evaluation count once.
    results = connection.execute(
        "SELECT lease.ended_at, EXISTS (SELECT 1 FROM stage_document AS d WHERE d.stage = ?1 AND d.purpose = 'search'"
        "  AND d.document = evaluation.document), lease.worker FROM lease"
        " JOIN evaluation ON evaluation.id = lease.evaluation"
        " WHERE lease.end_reason = 'scored' AND evaluation.length = ?2 ORDER BY lease.ended_at", [stage, length]).fetchall()
    connection.close()
    workers = len({worker for _, _, worker in results})
    judging = sum(1 for _, is_search, _ in results if not is_search)
    moments, searched, judged = [], 0, 0
    for count, (time, is_search, _) in enumerate(results, start=1):
        searched += is_search
        judged += not is_search
        rate = None
        if count > workers:
            after = count - workers
            covered = min(after, max(ROUNDS_AT_LEAST * workers, after // 2))
            passed = (time - results[count - covered - 1][0]) / 1000
            rate = covered / passed if passed > 0 else None
        search_left = max(budget * documents - searched, 0) if judged == 0 else 0
        moments.append((time / 1000, None if rate is None else (search_left + judging - judged) / rate))
    moments.append((ended / 1000, 0))
    used = "the whole budget" if told == budget else f"{told} of {budget} candidates ({reason})"
    print(f"stage {name}: {len(results)} results, {used}\n")
    return moments, told == budget


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--log", help="what longrope run printed on its standard output")
    source.add_argument("--db", help="database of a finished search")
    parser.add_argument("--limit", type=float, help="fail when an error is larger, in percent")
    arguments = parser.parse_args()
    moments, whole = (announced_in_log(arguments.log) if arguments.log else announced_from_database(arguments.db))
    known = [moment for moment in moments if moment[1] is not None]
    if len(moments) < 3 or not known:
        raise SystemExit("no time left was announced: the search was too short, or this is no log of one")
    begin, end = moments[0][0], moments[-1][0]
    print(f"{'at':>6} {'announced':>10} {'truth':>8} {'error':>8}")
    worst = 0.0
    for share in SHARES:
        time, announced = min(known, key=lambda moment: abs(moment[0] - (begin + share * (end - begin))))
        truth = end - time
        error = 100 * (announced - truth) / truth
        worst = max(worst, abs(error))
        print(f"{share:>6.0%} {announced:>9.0f}s {truth:>7.0f}s {error:>+7.1f}%")
    if arguments.limit is not None and worst > arguments.limit and whole is not False:
        raise SystemExit(f"an error is above {arguments.limit:g} %: {worst:.1f} %")


if __name__ == "__main__":
    sys.exit(main())
