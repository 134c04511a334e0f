"""`longrope report` on a real search: the page's numbers are those of the other commands."""

import json

import pytest

from longrope_processes import best, history, longrope, rows, write_search

DATA = '<script type="application/json" id="report-data">'


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    longrope("run", write_search(folder), "--db", folder / "search.db", "--workers", 2)
    return folder / "search.db"


def page_of(tmp_path, *arguments):
    out = tmp_path / "report.html"
    assert longrope("report", *arguments, "--out", out).stdout == f"{out}\n"
    return out.read_text(encoding="utf-8")


def data_of(page):
    begin = page.index(DATA) + len(DATA)
    return json.loads(page[begin:page.index("</script>", begin)])


def records(plot):
    keys = [column["key"] for column in plot["table"]["columns"]]
    return [dict(zip(keys, row)) for row in plot["table"]["rows"]]


def test_numbers_are_those_of_history_and_best(database, tmp_path):
    data = data_of(page_of(tmp_path, "--db", database))
    assert data["title"] == "LongRoPE search system-test"
    plots = {plot["kind"]: plot for plot in data["plots"] if plot["kind"] != "table"}
    assert set(plots) == {"history", "factors", "timeline"}
    candidates = rows(history(database))
    assert [row["k"] for row in records(plots["history"])] == [int(row["candidate"]) for row in candidates]
    for shown, row in zip(records(plots["history"]), candidates):
        assert shown["perplexity"] == float(row["perplexity"])
        assert shown["low"] < shown["perplexity"] < shown["high"]
    winner = best(database)
    assert plots["history"]["winner"] == winner["candidate"]
    assert [row["line0"] for row in records(plots["factors"])] == winner["lambda"]
    assert [column["name"] for column in plots["factors"]["table"]["columns"][2:]] == \
        ["short: PI", "short: NTK", "short: YaRN"]
    stage = records(data["plots"][0])[0]
    assert stage["searched"] == winner["heldout_perplexity"]
    assert stage["yarn"] == winner["heldout_perplexity_yarn"]
    answer = data["stages"][0]
    assert answer["final"] and answer["text"].split(" at ")[0] == f"{winner['heldout_perplexity']:#.4g}"
    spans = records(plots["timeline"])
    assert {span["end"] for span in spans} == {"scored"}
    for span in spans:
        assert 0 <= span["granted"] <= span["computing"] <= span["ended"]


def test_two_searches_and_a_title_in_one_page(database, tmp_path):
    data = data_of(page_of(tmp_path, "--db", database, "--db", database, "--title", "Both & more"))
    assert data["title"] == "Both & more"
    assert [row["search"] for row in records(data["plots"][0])] == ["system-test", "system-test (2)"]


def test_bad_input_leaves_the_old_page(database, tmp_path):
    out = tmp_path / "report.html"
    out.write_text("old")
    evaluation = tmp_path / "evaluation.json"
    evaluation.write_text('{"schema": "longrope-evaluation/1"}')
    for arguments, reason in ((("--db", tmp_path / "none.db"), "none.db"),
                              (("--db", database, "--evaluation", evaluation), "model must be given: absent"),
                              ((), "--db is required")):
        done = longrope("report", *arguments, "--out", out, check=False)
        assert done.returncode == 2 and reason in done.stderr, done.stderr
    assert out.read_text() == "old"
