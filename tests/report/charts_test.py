"""The page's scripts, run without a browser: what a plot draws and what its tooltips say for a table of the data."""

import json
import os
import re
from pathlib import Path

import pytest
import quickjs

ROOT = Path(os.environ.get("LONGROPE_SOURCE_DIR", Path(__file__).resolve().parents[2]))
REPORT = ROOT / "report"
# What a browser has and the scripts use while they prepare a plot.
BROWSER = """
const document = {documentElement: {}};
const getComputedStyle = () => ({getPropertyValue: name => name});
const Intl = {NumberFormat: function(_, options) {
  this.format = value => options.maximumSignificantDigits
      ? String(Number(value.toPrecision(options.maximumSignificantDigits))) : String(value);
}};
"""
HISTORY = [("k", "integer"), ("origin", "text"), ("perplexity", "perplexity"), ("low", "perplexity"),
           ("high", "perplexity"), ("best", "perplexity"), ("heldout", "perplexity")]


@pytest.fixture
def page():
    context = quickjs.Context()
    context.eval(BROWSER + "".join((REPORT / name).read_text(encoding="utf-8") for name in ("tables.js", "axes.js", "charts.js", "zoom.js")))
    return context


def evaluated(page, expression):
    return json.loads(page.eval(f"JSON.stringify({expression})"))


def plot(kind, columns, rows, **more):
    return {"kind": kind, "table": {"columns": [{"key": key, "name": key, "format": form} for key, form in columns],
                                    "rows": rows}, **more}


def tooltips(page, shown, label):
    """The lines of the tooltip at each point of a dataset."""
    return evaluated(page, f"""(() => {{
      const made = CHARTS[{json.dumps(shown["kind"])}]({json.dumps(shown)});
      const dataset = made.datasets.find(one => one.label === {json.dumps(label)});
      return dataset.data.map(point => made.tooltip(point, dataset));
    }})()""")


def test_tooltip_of_best_so_far_names_the_candidate_that_is_best(page):
    shown = plot("history", HISTORY, [[0, "seed:yarn", 3.0, 2.9, 3.1, 3.0, None], [1, "mutation", 3.5, 3.4, 3.6, 3.0, None],
                                      [2, "crossover", 2.5, 2.4, 2.6, 2.5, None], [3, "mutation", 9.0, 8.0, 9.9, 2.5, None]])
    assert tooltips(page, shown, "best so far") == [
        ["best so far: candidate 0 (seed:yarn): 3", "95 %: 2.9 to 3.1"],
        ["best so far: candidate 0 (seed:yarn): 3", "95 %: 2.9 to 3.1"],
        ["best so far: candidate 2 (crossover): 2.5", "95 %: 2.4 to 2.6"],
        ["best so far: candidate 2 (crossover): 2.5", "95 %: 2.4 to 2.6"],
    ]


def test_tooltip_of_a_held_out_figure_has_no_interval_of_the_search_documents(page):
    shown = plot("history", HISTORY, [[0, "seed:yarn", 3.0, 2.9, 3.1, 3.0, 4.5]], winner=0)
    for label in ("finalists, held out", "winner, held out"):
        assert tooltips(page, shown, label) == [[f"{label}: candidate 0 (seed:yarn): 4.5"]]


def made(page, shown):
    """What a plot draws: the datasets' labels and points, the axes, the note."""
    return evaluated(page, f"""(() => {{
      const {{datasets, scales, note}} = CHARTS[{json.dumps(shown["kind"])}]({json.dumps(shown)});
      return {{datasets: Object.fromEntries(datasets.map(one => [one.label, one])), scales, note}};
    }})()""")


def search_of(perplexities, **more):
    rows, best = [], float("inf")
    for k, perplexity in enumerate(perplexities):
        best = min(best, perplexity)
        rows.append([k, "mutation", perplexity, None, None, best, None])
    return plot("history", HISTORY, rows, **more)


def test_few_bad_candidates_do_not_flatten_the_others(page):
    good = [9.0 + 0.01 * number for number in range(19)]
    shown = made(page, search_of([26.0, 27.0, 25.0, *good]))
    axis = shown["scales"]["y"]
    assert axis["max"] < 9.5
    clipped = shown["datasets"]["above the plot"]["data"]
    assert [(point["x"], point["row"]["perplexity"]) for point in clipped] == [(0, 26.0), (1, 27.0), (2, 25.0)]
    assert {point["y"] for point in clipped} == {axis["max"]}
    assert "3 of 22 candidates" in shown["note"]
    assert tooltips(page, search_of([26.0, *good]), "above the plot") == [["above the plot: candidate 0 (mutation): 26"]]


def test_candidates_that_spread_evenly_are_all_in_the_plot(page):
    shown = made(page, search_of([80.0, 40.0, 20.0, 10.0, 5.0, 2.5]))
    assert "above the plot" not in shown["datasets"] and shown["note"] == ""
    assert shown["scales"]["y"]["max"] > 80


def test_reference_lines_are_drawn_and_named_when_they_are_far_above(page):
    near = {"method": "yarn", "name": "YaRN, held out", "perplexity": 2.6}
    far = {"method": "none", "name": "untouched, held out", "perplexity": 62.0}
    history = search_of([2.4, 2.5, 2.45], references=[far, near])
    shown = made(page, history)
    assert [point["y"] for point in shown["datasets"]["YaRN, held out"]["data"]] == [2.6, 2.6]
    top = shown["scales"]["y"]["max"]
    assert 2.6 < top < 10
    assert [point["y"] for point in shown["datasets"]["untouched, held out ↑ 62"]["data"]] == [top, top]
    assert "untouched, held out (62)" in shown["note"]
    assert tooltips(page, history, "untouched, held out ↑ 62")[0] == ["untouched, held out: 62"]


def test_method_has_the_same_colour_in_all_plots(page):
    lengths = plot("by_length", [("series", "text"), ("length", "integer"), ("perplexity", "perplexity"),
                                 ("low", "perplexity"), ("high", "perplexity")],
                   [[name, length, 3.0, None, None] for name in ("longrope", "base", "yarn", "yarn, window 64 by 32", "mine")
                    for length in (512, 1024)])
    shown = made(page, lengths)["datasets"]
    assert [shown[name]["borderColor"] for name in ("longrope", "base", "yarn", "yarn, window 64 by 32", "mine")] == \
        ["--own-0", "--untouched", "--yarn", "--yarn", "--own-1"]
    factors = plot("factors", [("pair", "integer")], [[0, 1.0, 2.0, 3.0]])
    factors["table"]["columns"] += [
        {"key": "line0", "name": "4k: winner", "format": "number", "method": "searched", "stage": 0, "length": 4096},
        {"key": "line1", "name": "4k: YaRN", "format": "number", "method": "yarn", "stage": 0, "length": 4096},
        {"key": "line2", "name": "512: winner", "format": "number", "method": "searched", "stage": 1, "length": 512}]
    drawn = made(page, factors)["datasets"]
    assert [one["borderColor"] for one in drawn.values()] == ["--own-0", "--yarn", "--own-1"]


def test_closed_forms_are_those_of_the_longest_stage(page):
    factors = plot("factors", [("pair", "integer")], [[0, 1.0, 2.0, 3.0]])
    factors["table"]["columns"] += [
        {"key": f"line{at}", "name": f"{length}: {method}", "format": "number", "method": method, "stage": stage, "length": length}
        for at, (length, method, stage) in enumerate(((8192, "yarn", 0), (512, "searched", 1), (512, "yarn", 1)))]
    assert list(made(page, factors)["datasets"]) == ["8192: yarn", "512: searched"]


def test_zoom_stays_inside_of_the_data(page):
    assert evaluated(page, "zoomed([0, 100], [0, 100], 0.5, 0, false)") == [25, 75]
    assert evaluated(page, "zoomed([25, 75], [0, 100], 1, 1, false)") == [50, 100]
    assert evaluated(page, "zoomed([25, 75], [0, 100], 8, 0, false)") == [0, 100]
    assert evaluated(page, "zoomed([1, 10000], [1, 10000], 0.5, 0, true)") == pytest.approx([10, 1000])


def test_loss_is_smoothed_over_the_steps_around(page):
    rows = [["tune", step, 1.0 if step % 2 else 3.0, 1e-4, 0.5] for step in range(1, 12)]
    shown = plot("loss", [("series", "text"), ("step", "integer"), ("loss", "number"), ("rate", "number"),
                          ("norm", "number")], rows)
    drawn = made(page, shown)["datasets"]
    assert [point["y"] for point in drawn["tune, steps"]["data"]] == [row[2] for row in rows]
    assert drawn["tune"]["data"][5]["y"] == pytest.approx((3 + 1 + 3 + 1 + 3) / 5)
    assert tooltips(page, shown, "tune")[0] == ["tune, step 1: 1", "learning rate 0.0001, norm of the gradient 0.5"]


def test_answers_are_the_verdicts_where_there_are_some_with_what_they_rest_on(page):
    script = (REPORT / "page.js").read_text(encoding="utf-8")
    stages = [{"search": "a", "stage": "4k", "length": 4096, "final": True, "text": "no verdict", "cost": "5 passes; 2 s",
               "verdict": {"judgement": "worse", "text": ["searched is 1.6 % worse than untouched", "judged by 3"]}},
              {"search": "a", "stage": "8k", "length": 8192, "final": False, "text": "so far", "cost": "1 passes; 1 s"}]
    page.eval("""element = (tag, properties, ...parts) => {
      const names = [properties.className];
      return {names, parts, classList: {add: name => names.push(name)}};
    };""" + f"const report = {json.dumps({'stages': stages})};" + re.search(r"^function answers\(\).*?^}", script, re.M | re.S)[0])
    lost, rests_on, running = evaluated(page, "answers()")
    assert (lost["parts"][0], lost["parts"][2]) == ("a, 4k: ", "; 5 passes; 2 s")
    assert lost["parts"][1]["parts"] == ["searched is 1.6 % worse than untouched"]
    assert lost["names"] == ["answer", "longest", "worse"] and rests_on["parts"] == ["judged by 3"]
    assert running["parts"][1]["parts"] == ["so far"] and running["names"] == ["answer"]
