"""Pure parts of bench/search/: what is run again, what a database says, bootstrap intervals, the page."""

import argparse
import itertools
import math
import os
import pathlib
import random
import sqlite3
import statistics
import sys
import tomllib

import pytest

ROOT = pathlib.Path(os.environ["LONGROPE_SOURCE_DIR"])
sys.path[:0] = [str(ROOT / "bench" / "search"), str(ROOT / "bench")]

import baseline_records
import compare_searches
import final_scores
import paired_bootstrap
import result_page
import search_run

SETTINGS = search_run.Settings("gradient", 3, 2048, 134, "fp32", 1, None, 5, 4, True)
HEADER = ("stage,candidate,origin,parents,state,n_hat,attention_policy,attention_factor,factors_digest,kind,documents,"
          "document_passes,nll_sum,scored_tokens,perplexity,best_so_far,heldout_perplexity,lambda")


def history_line(k, perplexity, heldout="", passes="5", state="told"):
    return (f'"search",{k},mutation,0,{state},0,none,1,digest{k},score,5,{passes},1.5,10,{perplexity},2,{heldout},'
            '"[1.0,8.0]"')


def history(*lines):
    return search_run.read_history("\n".join([HEADER, *lines]) + "\n")


# --- what is run ---

@pytest.mark.parametrize("written, states, action", [
    (None, None, "begin"),
    ("other", None, "begin"),  # nothing has begun under it
    ("wanted", None, "begin"),
    ("wanted", ["pending"], "continue"),
    ("wanted", ["choosing"], "continue"),
    ("wanted", ["finished", "searching"], "continue"),
    ("wanted", ["finished"], "finished"),
])
def test_only_a_search_that_is_not_finished_is_run(written, states, action):
    assert search_run.next_action(written, "wanted", states) == action


def test_a_database_of_another_configuration_is_refused():
    with pytest.raises(ValueError, match="must be that of the database"):
        search_run.next_action("other", "wanted", ["finished"])


def test_a_finished_search_starts_no_program(tmp_path):
    database = tmp_path / "search.db"
    make_database(database)
    (tmp_path / "search.toml").write_text(search_run.configuration(SETTINGS, "model", pathlib.Path("documents")))
    found = search_run.run_search("/no/such/program", SETTINGS, tmp_path, "model", pathlib.Path("documents"), 1, "cpu")
    assert found == database


def test_a_file_without_tables_is_no_search(tmp_path):
    assert search_run.stage_states(tmp_path / "search.db") is None
    (tmp_path / "search.db").touch()
    assert search_run.stage_states(tmp_path / "search.db") is None


def test_configurations_are_toml_with_the_budget_of_the_method():
    text = search_run.configuration(SETTINGS, pathlib.Path('/m "1"'), pathlib.Path("/d"))
    read = tomllib.loads(text)
    stage, = read["stage"]
    assert read["model"]["path"] == '/m "1"' and read["run"]["seed"] == 3
    assert stage["stop"] == {"max_passes": 134} and "search_count" not in stage
    paper = search_run.configuration(search_run.paper_baseline(1, 2048, "fp32", 1), "m", pathlib.Path("/d"))
    stage, = tomllib.loads(paper)["stage"]
    assert stage["stop"] == {"max_candidates": 1344} and stage["search_count"] == 5
    assert stage["search"] == {"method": "longrope", "seeds": ["pi", "ntk", "yarn"], "attention_policies": ["none"]}


def test_the_choice_among_finalists_is_part_of_a_methods_budget():
    other = search_run.Settings("random", 1, 2048, 134, "fp32", 1, 5, 5, 4, True)
    assert search_run.stop_line(other) == "max_candidates = 22"  # (134 − 4·5) / 5
    with pytest.raises(SystemExit, match="must allow for a candidate"):
        search_run.stop_line(search_run.Settings("random", 1, 2048, 24, "fp32", 1, 5, 5, 4, True))


def test_other_settings_have_another_folder():
    different = [SETTINGS, *(search_run.Settings(*change) for change in (
        ("gradient", 4, 2048, 134, "fp32", 1, None, 5, 4, True),
        ("gradient", 3, 2048, 336, "fp32", 1, None, 5, 4, True),
        ("gradient", 3, 2048, 134, "fp32", 1, None, 5, 4, True, (("space", '"yarn"'),)),
        ("gradient", 3, 2048, 134, "fp32", 1, None, 6, 4, True)))]
    assert len({each.folder for each in different}) == len(different)
    assert different[3].label == "gradient yarn" and '"' not in different[3].folder


def test_numbers_and_ranges():
    assert compare_searches.whole_numbers("1-3,7") == [1, 2, 3, 7]
    for wrong in ("", "3-1", "a", "1,"):
        with pytest.raises(argparse.ArgumentTypeError, match="must be like"):
            compare_searches.whole_numbers(wrong)


# --- what a history and a database say ---

def test_the_best_finalist_on_heldout_documents_wins():
    rows = history(history_line(0, 2.0, 3.0), history_line(1, 1.5), history_line(2, 1.9, 2.5),
                   history_line(3, 1.8, 2.5))
    assert search_run.winner_of(rows)["candidate"] == 2
    assert rows[0]["lambda"] == [1.0, 8.0] and rows[0]["digest"] == "digest0"
    with pytest.raises(ValueError, match="held-out"):
        search_run.winner_of(history(history_line(0, 2.0)))


def test_incumbents_are_the_best_within_the_passes():
    rows = history(history_line(0, 3.0), history_line(1, "", passes="", state="quarantined"), history_line(2, 2.0),
                   history_line(3, 2.5), history_line(4, 1.0))
    found = search_run.incumbents(rows, [4, 5, 9, 10, 14, 19, 20, 21])
    assert {point: row["candidate"] for point, row in found.items()} == {5: 0, 9: 0, 10: 2, 14: 2, 19: 2, 20: 4}


def make_database(path):
    """A finished stage: two candidates, of which one is a finalist and one was scored on a document as a baseline too;
    a baseline; gradients of twice the time of a score. By the migrations that longrope applies."""
    connection = sqlite3.connect(path)
    for migration in sorted((ROOT / "schemas" / "migrations").glob("*.sql")):
        connection.executescript(migration.read_text(encoding="utf-8"))
    connection.execute(
        "INSERT INTO stage (id, name, target_length, budget, state, end_reason, end_detail, active_milliseconds) "
        "VALUES (1, 'search', 64, 2, 'finished', 'budget', '', 0)")
    for document, purpose in (("s0", "search"), ("h0", "heldout"), ("h1", "heldout")):
        connection.execute("INSERT INTO document VALUES (?, ?, 'file', 64)", [document, document])
        connection.execute("INSERT INTO stage_document VALUES (1, ?, ?, ?, 63)", [purpose, int(document[1]), document])
    for factors in "abn":
        connection.execute("INSERT INTO factors (digest, lambda, n_hat, attention_factor) VALUES (?, '[1.0]', 0, 1.0)",
                           [factors])
    for number, role, k, factors, heldout in ((1, "search", 0, "a", None), (2, "search", 1, "b", 1.0),
                                              (3, "baseline", 0, "a", 1.1), (4, "baseline", 1, "n", 1.2)):
        connection.execute(
            "INSERT INTO candidate (id, stage, role, k, origin, factors, steps_per_unit, attention_policy, state,"
            " search_mean_nll, heldout_mean_nll) VALUES (?, 1, ?, ?, '', ?, 0, 'none', 'told', ?, ?)",
            [number, role, k, factors, 1.0 if role == "search" else None, heldout])
    evaluations = itertools.count(1)

    def evaluate(kind, factors, document, length, seconds, candidate=None, position=0, state="scored"):
        number = next(evaluations)
        scored = [1.0, 63, "[[1.0,63]]", seconds, 1] if state == "scored" else [None] * 5
        gradient = "[0.5]" if kind == "gradient" and state == "scored" else None
        connection.execute(
            "INSERT INTO evaluation (id, hash, kind, factors, document, length, cost_passes, state, epoch, failures,"
            " nll_sum, scored_tokens, blocks, seconds, peak_memory_bytes, gradient, error)"
            " VALUES (?, ?, ?, ?, ?, ?, 1, ?, 1, 0, ?, ?, ?, ?, ?, ?, '')",
            [number, f"hash{number}", kind, factors, document, length, state, *scored, gradient])
        if candidate is not None:
            connection.execute("INSERT INTO candidate_evaluation VALUES (?, ?, ?)", [candidate, position, number])

    evaluate("score", "a", "s0", 64, 2.0, candidate=1)
    evaluate("gradient", "b", "s0", 64, 6.0, candidate=2)
    evaluate("score", "b", "h0", 64, 1.0)  # the finalist
    evaluate("score", "b", "h1", 64, 3.0)
    evaluate("score", "a", "h0", 64, 50.0)  # YaRN as a baseline: the candidate with its factors was no finalist
    evaluate("score", "n", "h0", 64, 50.0)
    evaluate("score", "b", "h0", 32, 50.0)  # the winner at the length that the checkpoint reaches
    evaluate("score", "b", "s0", 64, 0.0, candidate=2, position=1, state="cancelled")
    connection.commit()
    connection.close()


def test_candidates_and_finalists_count_and_baselines_do_not(tmp_path):
    make_database(tmp_path / "search.db")
    cost = search_run.cost_of(tmp_path / "search.db")
    assert (cost.scores, cost.gradients) == (3, 1)
    assert (cost.score_seconds, cost.gradient_seconds, cost.ratio, cost.passes) == (2.0, 6.0, 3.0, 6.0)
    assert search_run.stage_states(tmp_path / "search.db") == ["finished"]


def test_costs_of_a_search_without_gradients():
    assert search_run.Cost(scores=7, gradients=0, score_seconds=2.0, gradient_seconds=0.0).passes == 7
    status = {"costs": [{"kind": "gradient", "scored": 2}, {"kind": "score", "scored": 9}]}
    assert search_run.scored_by_kind(status) == {"gradient": 2, "score": 9}


def test_a_committed_baseline_is_taken_for_equal_inputs_only(tmp_path):
    inputs = {"model": "m", "documents": "d"}
    wanted = baseline_records.description(search_run.paper_baseline(1, 2048, "fp32", 1), inputs)
    assert baseline_records.read_record(tmp_path, "b", wanted) is None
    baseline_records.write_record(tmp_path, "b", wanted, "history", {"commit": "c"})
    assert baseline_records.read_record(tmp_path, "b", wanted) == ("history", {"commit": "c"})
    for other in ({"settings": wanted["settings"], "inputs": {"model": "m", "documents": "e"}},
                  baseline_records.description(search_run.paper_baseline(1, 2048, "bf16", 1), inputs)):
        with pytest.raises(SystemExit, match="must be those of the comparison"):
            baseline_records.read_record(tmp_path, "b", other)


def test_committed_histories_name_no_folder_of_a_machine():
    for path in baseline_records.FOLDER.glob("*.[cj]s*"):
        text = path.read_text(encoding="utf-8")
        assert not any(folder in text for folder in ("/tmp/", "/home/", "/root/", "/work/")), path


# --- final scores ---

def test_scores_of_other_documents_are_not_used(tmp_path):
    file = tmp_path / "scores.json"
    scores = final_scores.FinalScores(file, {"final": "digest"}, [])
    scores.scores["a"] = {"nll": [1.0], "tokens": [2]}
    scores.write()
    assert final_scores.FinalScores(file, {"final": "digest"}, []).scores == scores.scores
    assert final_scores.FinalScores(file, {"final": "another"}, []).scores == {}
    assert final_scores.missing({"a": 1, **{f"b{index}": 1 for index in range(13)}}, scores.scores) == [
        [f"b{index}" for index in range(12)], ["b12"]]


def test_reports_of_one_and_of_several_factor_sets_are_read():
    one = {"documents": [{"nll_sum": 1.0, "scored_tokens": 4}, {"nll_sum": 2.0, "scored_tokens": 5}]}
    expected = {"nll": [1.0, 2.0], "tokens": [4, 5]}
    assert final_scores.documents_of(one) == [expected]
    assert final_scores.documents_of({"factor_sets": [one, one]}) == [expected, expected]


# --- bootstrap ---

def test_intervals_are_percentiles_of_resampled_documents():
    """Against a plain loop with other random numbers: the ends of 10,000 resamples agree to 4 % of the interval."""
    source = random.Random(5)
    tokens = [source.randint(900, 1100) for _ in range(16)]
    reference = [2.5 * each + source.gauss(0, 200) for each in tokens]
    nll = [each + source.gauss(8, 10) for each in reference]
    resampled = []
    for _ in range(paired_bootstrap.RESAMPLES):
        drawn = [source.randrange(16) for _ in range(16)]
        resampled.append(sum(nll[i] - reference[i] for i in drawn) / sum(tokens[i] for i in drawn))
    cuts = statistics.quantiles(resampled, n=40, method="inclusive")
    difference, low, high = paired_bootstrap.paired_interval(nll, reference, tokens)
    assert difference == pytest.approx((sum(nll) - sum(reference)) / sum(tokens), rel=1e-12)
    assert (low, high) == pytest.approx((cuts[0], cuts[-1]), abs=0.04 * (high - low))
    assert paired_bootstrap.paired_interval(nll, reference, tokens) == (difference, low, high)  # a fixed seed


def test_equal_differences_have_no_width_however_documents_differ():
    tokens = [100] * 8
    reference = [10.0 * index for index in range(8)]
    difference, low, high = paired_bootstrap.paired_interval([each + 1 for each in reference], reference, tokens)
    assert (difference, low, high) == pytest.approx((0.01, 0.01, 0.01), abs=1e-15)
    with pytest.raises(ValueError, match="each document"):
        paired_bootstrap.paired_interval([1.0], [1.0, 2.0], [1, 1])


# --- the page ---

def outcome(seed, nll, passes=134, gradients=10, method="gradient"):
    settings = search_run.Settings(method, seed, 2048, passes, "fp32", 1, None, 5, 4, True)
    return result_page.Outcome(settings, "mean:5", nll, search_run.Cost(40, gradients, 1.0, 3.0),
                               {"score": 60, "gradient": gradients}, 2.6)


def length_result():
    tokens = [100, 100]
    paper = [outcome(1, [90.0, 110.0], method="longrope"), outcome(2, [92.0, 112.0], method="longrope")]
    searches = [outcome(1, [91.4, 111.4]), outcome(2, [90.9, 110.9]), outcome(3, [93.0, 113.0]),
                outcome(1, [90.0, 110.0], passes=336)]
    return result_page.LengthResult(2048, tokens, {"YaRN": [100.0, 120.0]}, paper, [], searches,
                                    {"(b)": {134: [[95.0, 115.0], [95.0, 115.0]]}, "(a)": {}})


def test_the_reference_is_the_mean_of_the_papers_winners():
    result = length_result()
    assert result.perplexity(result.reference) == pytest.approx(math.sqrt(math.exp(1.00) * math.exp(1.02)), rel=1e-12)
    assert result_page.count_near([2.0, 2.01, 2.011, 1.9], 2.0) == (3, 2)


def test_the_page_says_how_many_seeds_are_near_and_what_they_spent():
    text = result_page.page("Searches", ["about", ""], [length_result()])
    # ln perplexity of the seeds: 1.014, 1.009, 1.030 against 1.010; 0.5 % are 0.00499.
    assert "| 134 | 2.7667 (2.7429–2.8011) | +0.0077 [+0.0077, +0.0077] | 2 of 3 | 1 of 3 |" in text
    assert "| 336 | 2.7183 (2.7183–2.7183) | -0.0100 [-0.0100, -0.0100] | 1 of 1 | 1 of 1 |" in text
    assert "| 134 | 40 (40–40) | 10 (10–10) | 3.00 (3.00–3.00) | 70.0 (70.0–70.0) |" in text
    assert "| 134 | 2.7667 | 2.8577 |  |" in text  # the curve
    assert "| seed 1 | 2.7566 | 2.7183 |" in text
    assert "| **mean of (b)** |  |  | **2.7456** |  |" in text
