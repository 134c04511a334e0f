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
    context.eval(BROWSER + "".join((REPORT / name).read_text(encoding="utf-8") for name in ("tables.js", "charts.js")))
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
