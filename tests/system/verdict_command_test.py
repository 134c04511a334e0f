"""A search that lost is called so, and is exported only by force."""

import pytest

from longrope_processes import MODEL, best, longrope, write_search

LENGTH = 640


def losing(config):
    """Every candidate multiplies queries and keys by 4: far worse than the model without it."""
    config.write_text(config.read_text() + "attention_value = 4.0\n")
    return config


@pytest.fixture(scope="module")
def lost(tmp_path_factory):
    """The database of a search that lost, and what its run printed."""
    folder = tmp_path_factory.mktemp("lost")
    config = losing(write_search(folder, length=LENGTH, population=3, iterations=0, policies='["value"]', documents=3))
    done = longrope("run", config, "--db", folder / "lost.db", "--workers", 1)
    return folder / "lost.db", done.stdout


def export(database, out, *arguments, check=True):
    return longrope("export", "--db", database, "--model", MODEL, "--format", "hf", "--out", out, *arguments,
                    check=check)


def test_run_and_best_say_that_the_search_lost(lost):
    database, printed = lost
    assert "stage short: searched is " in printed and "worse than untouched" in printed
    assert "do not export" in printed and "search finished" in printed
    assert "chosen and judged by the same 3 held-out documents" in printed
    table = longrope("best", "--db", database).stdout
    assert "worse than untouched" in table and "do not export" in table
    marked = [line for line in table.splitlines() if line.endswith(" *")]
    assert len(marked) == 1 and "searched" not in marked[0], table
    verdict = best(database)["verdict"]
    assert verdict["judgement"] == "worse" and verdict["text"][0] in table
    untouched = next(other for other in verdict["comparisons"] if other["method"] == "none")
    assert untouched["perplexity"] == pytest.approx(best(database)["heldout_perplexity_untouched"])
    assert 0 < untouched["relative_change_interval"][0] < untouched["relative_change"]


def test_lost_search_is_exported_only_by_force(lost, tmp_path):
    database, _ = lost
    refused = export(database, tmp_path / "out", check=False)
    assert refused.returncode == 2 and "do not export" in refused.stderr and "--force" in refused.stderr
    assert not (tmp_path / "out").exists()
    forced = export(database, tmp_path / "out", "--force")
    assert "do not export; exporting it all the same (--force)" in forced.stderr
    assert (tmp_path / "out" / "config.json").exists()


def test_closed_form_that_is_better_is_named(lost, tmp_path):
    database, _ = lost
    assert "a closed form that needs no search" in export(database, tmp_path / "out", "--force").stderr


def test_factors_from_a_file_have_no_verdict(lost, tmp_path):
    database, _ = lost
    longrope("export", "--db", database, "--model", MODEL, "--format", "json", "--out", tmp_path / "lost.json",
             "--force")
    longrope("export", "--factors", tmp_path / "lost.json", "--model", MODEL, "--format", "hf", "--out",
             tmp_path / "out")
    refused = longrope("export", "--factors", tmp_path / "lost.json", "--model", MODEL, "--format", "hf", "--out",
                       tmp_path / "again", "--force", check=False)
    assert refused.returncode == 2 and "--db" in refused.stderr, "force has nothing to force"


def test_pipeline_stops_at_the_export_of_a_lost_search_until_it_is_forced(lost, tmp_path):
    config = losing(write_search(tmp_path, length=LENGTH, population=3, iterations=0, policies='["value"]',
                                 documents=3))
    config.write_text(config.read_text() + '[[stage]]\nkind = "export"\nname = "out"\n')
    database = tmp_path / "road.db"
    stopped = longrope("run", config, "--db", database, "--workers", 1, check=False)
    assert stopped.returncode == 2 and "force = true" in stopped.stderr and "do not export" in stopped.stderr
    assert stopped.stderr.count("stage short: searched is ") == 1
    config.write_text(config.read_text() + "force = true\n")
    longrope("run", config, "--db", database, "--workers", 1)
    assert best(database)["verdict"]["text"] == best(lost[0])["verdict"]["text"]
    assert longrope("best", "--db", database, "--stage", "short", "--json").stdout == longrope(
        "best", "--db", database, "--json").stdout
    assert "a stage must be a search: out is export" in longrope("best", "--db", database, "--stage", "out",
                                                                 check=False).stderr
    assert (tmp_path / "road.stages" / "out" / "system-test-out" / "config.json").exists()
