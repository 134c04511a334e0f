"""The same search gives the same bytes whatever happens to its processes."""

import contextlib
import json
import os
import random
import signal

import pytest

from longrope_processes import (
    Process, best, history, longrope, query, rows, scored, wait_until, write_gradient_search, write_search)

SCORED_BEFORE_KILL = 7  # in the middle of the search: 18 candidates on 2 documents; among the gradients
# make soak asks for more rounds of kills, and for others each time.
SURVIVAL_ROUNDS = int(os.environ.get("LONGROPE_SURVIVAL_ROUNDS", "1"))
SURVIVAL_SEED = os.environ.get("LONGROPE_SURVIVAL_SEED", "0")


@pytest.fixture(scope="module", params=["generational", "steady_state", "gradient"])
def undisturbed(request, tmp_path_factory):
    """Configuration, and the history of a run with one worker that nothing happened to."""
    folder = tmp_path_factory.mktemp("search")
    is_generational = "true" if request.param == "generational" else "false"
    is_gradient = request.param == "gradient"
    config = write_gradient_search(folder) if is_gradient else write_search(folder, generational=is_generational)
    longrope("run", config, "--db", folder / "undisturbed.db", "--workers", 1)
    text = history(folder / "undisturbed.db")
    kinds = [row["kind"] for row in rows(text)]
    assert kinds.count("gradient") >= 5 if is_gradient else kinds == ["score"] * 18
    return config, text


def test_three_workers_give_the_history_of_one(undisturbed, tmp_path):
    config, expected = undisturbed
    longrope("run", config, "--db", tmp_path / "search.db", "--workers", 3)
    assert history(tmp_path / "search.db") == expected


def test_killed_worker_changes_nothing(undisturbed, tmp_path):
    config, expected = undisturbed
    database = tmp_path / "search.db"
    with Process("run", config, "--db", database, "--workers", 2) as run:
        wait_until(lambda: scored(database) >= SCORED_BEFORE_KILL, "some results")
        os.kill(run.children()[0], signal.SIGKILL)
        code, output = run.finish()
    assert code == 0, output
    assert history(database) == expected
    assert query(database, "SELECT count(*) FROM lease WHERE end_reason IN ('expired', 'released')")[0][0] > 0


def test_killed_coordinator_continues_with_the_same_command(undisturbed, tmp_path):
    config, expected = undisturbed
    database = tmp_path / "search.db"
    with Process("run", config, "--db", database, "--workers", 2) as run:
        wait_until(lambda: scored(database) >= SCORED_BEFORE_KILL, "some results")
        run.kill(signal.SIGKILL)
        run.finish()
    stored = scored(database)
    assert stored >= SCORED_BEFORE_KILL
    longrope("run", config, "--db", database, "--workers", 2)
    assert history(database) == expected
    # Nothing that was acknowledged is scored again.
    assert query(database, "SELECT count(*) FROM lease WHERE end_reason = 'scored'")[0][0] == scored(database)


@pytest.mark.parametrize("survival_round", range(SURVIVAL_ROUNDS))
def test_search_killed_again_and_again_comes_to_the_same_history(undisturbed, tmp_path, survival_round):
    config, expected = undisturbed
    database = tmp_path / "search.db"
    chance = random.Random(f"{SURVIVAL_SEED} {survival_round}")
    finished = False
    while not finished:
        with Process("run", config, "--db", database, "--workers", 2) as run:
            wanted = scored(database) + chance.randint(1, SCORED_BEFORE_KILL)
            wait_until(lambda: run.popen.poll() is not None or scored(database) >= wanted, "some results, or the end")
            workers = run.children() if run.popen.poll() is None else []
            if workers and chance.random() < 0.5:
                with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
                    os.kill(chance.choice(workers), signal.SIGKILL)  # the search goes on with the other one
                wanted = scored(database) + chance.randint(1, SCORED_BEFORE_KILL)
                wait_until(lambda: run.popen.poll() is not None or scored(database) >= wanted, "more, or the end")
            if run.popen.poll() is None:
                run.kill(signal.SIGKILL)
            code, output = run.finish()
            assert code in (0, -signal.SIGKILL), output
            finished = code == 0
    assert history(database) == expected


def test_workers_outlive_a_killed_coordinator(undisturbed, tmp_path):
    config, expected = undisturbed
    database = tmp_path / "search.db"
    endpoint = f"ipc://{tmp_path}/coordinator"
    worker = ("worker", "--connect", endpoint, "--model-root", os.environ["LONGROPE_SOURCE_DIR"] + "/models", "--id")
    with Process(*worker, "first") as first, Process(*worker, "second") as second:
        with Process("coordinator", config, "--db", database, "--bind", endpoint) as coordinator:
            wait_until(lambda: scored(database) >= SCORED_BEFORE_KILL, "some results")
            coordinator.kill(signal.SIGKILL)
            coordinator.finish()
        with Process("coordinator", config, "--db", database, "--bind", endpoint) as coordinator:
            code, output = coordinator.finish()
        assert code == 0, output
        # Dismissed when the search is finished.
        assert first.finish()[0] == 0
        assert second.finish()[0] == 0
    assert history(database) == expected


def test_second_worker_under_one_id_is_refused_and_the_first_goes_on(tmp_path):
    config = write_search(tmp_path, iterations=100)  # longer than anybody waits here
    database = tmp_path / "search.db"
    endpoint = f"ipc://{tmp_path}/coordinator"
    worker = ("worker", "--connect", endpoint, "--model-root", os.environ["LONGROPE_SOURCE_DIR"] + "/models", "--id",
              "the-only-one")
    with Process("coordinator", config, "--db", database, "--bind", endpoint) as coordinator, Process(*worker) as first:
        wait_until(lambda: scored(database) >= 1, "a result")
        with Process(*worker) as second:
            code, output = second.finish()
        assert code == 2, output
        assert "the-only-one is at work on host" in output
        before = scored(database)
        wait_until(lambda: scored(database) > before, "a result of the first")
        assert query(database, "SELECT count(*) FROM lease WHERE end_reason IN ('expired', 'released')") == [(0,)]
        for process in (first, coordinator):
            process.kill(signal.SIGTERM)
            assert process.finish()[0] == 0


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_stopped_run_exits_0_and_continues(undisturbed, tmp_path, stop):
    config, expected = undisturbed
    database = tmp_path / "search.db"
    with Process("run", config, "--db", database, "--workers", 2) as run:
        wait_until(lambda: scored(database) >= SCORED_BEFORE_KILL, "some results")
        run.kill(stop)
        code, output = run.finish()
    assert code == 0
    assert "stopped; the same command continues" in output
    assert query(database, "SELECT count(*) FROM evaluation WHERE state = 'leased'") == [(0,)]
    finished = longrope("run", config, "--db", database, "--workers", 2)
    assert "search finished" in finished.stdout
    assert history(database) == expected


def test_finished_search_says_so_and_exits_0(undisturbed):
    config, expected = undisturbed
    database = config.parent / "undisturbed.db"
    again = longrope("run", config, "--db", database, "--workers", 1)
    assert "search finished" in again.stdout
    assert history(database) == expected


def test_status_has_the_best_and_nothing_left_of_a_finished_search(undisturbed):
    config, text = undisturbed
    database = config.parent / "undisturbed.db"
    candidates = len(rows(text))
    stage, = json.loads(longrope("status", "--db", database, "--json").stdout)["stages"]
    assert (stage["state"], stage["told"], stage["budget"]) == ("finished", candidates, candidates)
    assert stage["winner"] == best(database)["candidate"] and stage["best_search_perplexity"] > 1
    assert stage["evaluations_pending"] == stage["evaluations_leased"] == 0 and stage["seconds_left"] is None
    shown = longrope("status", "--db", database).stdout
    assert "short" in shown and "finished" in shown and f"{candidates}/{candidates}" in shown


def test_worker_that_was_away_at_the_end_is_dismissed(undisturbed, tmp_path):
    config, _ = undisturbed
    endpoint = f"ipc://{tmp_path}/coordinator"
    models = os.environ["LONGROPE_SOURCE_DIR"] + "/models"
    with Process("worker", "--connect", endpoint, "--model-root", models) as worker:
        longrope("coordinator", config, "--db", config.parent / "undisturbed.db", "--bind", endpoint)
        assert worker.finish()[0] == 0


def test_another_seed_gives_another_history(undisturbed, tmp_path):
    config, expected = undisturbed
    longrope("run", config, "--db", tmp_path / "search.db", "--workers", 2, "--seed", 8)
    assert history(tmp_path / "search.db") != expected


def test_winner_is_the_best_finalist_on_held_out_documents(undisturbed):
    config, text = undisturbed
    winner = best(config.parent / "undisturbed.db")
    finalists = [row for row in rows(text) if row["heldout_perplexity"]]
    assert len(finalists) == 2
    assert winner["final"]
    assert winner["heldout_perplexity"] == pytest.approx(
        min(float(row["heldout_perplexity"]) for row in finalists), rel=1e-12)
    for name in ("untouched", "pi", "ntk", "yarn"):
        assert winner[f"heldout_perplexity_{name}"] > 1


def test_run_has_a_worker_for_each_device_and_says_on_what_it_computes(tmp_path):
    config = write_search(tmp_path, population=3, iterations=0)
    two = tmp_path / "two.toml"
    two.write_text(config.read_text().replace("[scheduling]", '[worker]\ndevices = ["cpu", "cpu"]\n[scheduling]'))
    done = longrope("run", two, "--db", tmp_path / "two.db")
    assert "computing on the CPU with 2 workers of 1 thread\n" in done.stderr
    assert len(query(tmp_path / "two.db", "SELECT id FROM v_workers")) == 2
    one = longrope("run", two, "--db", tmp_path / "one.db", "--device", "cpu")
    assert "computing on the CPU with 1 worker of 1 thread\n" in one.stderr
    assert history(tmp_path / "one.db") == history(tmp_path / "two.db")
    mixed = longrope("run", config, "--db", tmp_path / "mixed.db", "--device", "cpu,cuda:0", check=False)
    assert mixed.returncode == 2 and "must not mix them: cpu, cuda:0" in mixed.stderr
    assert not (tmp_path / "mixed.db").exists()


def test_automatic_device_is_said_with_its_reason(tmp_path):
    config = write_search(tmp_path, population=3, iterations=0)
    said = longrope("run", config, "--db", tmp_path / "search.db").stderr
    if json.loads(longrope("devices", "--json").stdout)["gpus"]:
        assert "computing on " in said and "cuda:0" in said
    else:
        assert "computing on the CPU with " in said and ": no GPU " in said


def test_hours_of_a_cpu_are_those_of_a_measurement(tmp_path):
    assert 0 < json.loads(longrope("devices", "--json", "--measure-cpu").stdout)["cpu_tflops"] < 100
    planned = longrope("run", write_search(tmp_path), "--dry-run", "--device", "cpu").stdout
    assert "Hours on the CPU of this machine" in planned and "measured just now" in planned
