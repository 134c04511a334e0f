"""The result of the bench as Markdown: searches on final documents beside the baselines."""

import dataclasses
import math
import statistics
from typing import Optional

from paired_bootstrap import RESAMPLES, log_perplexity, mean_nll, paired_interval
from search_run import BASELINE_PASSES, Cost, Settings

WITHIN = 0.005  # of the perplexity that (b)'s winners have on average


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A finished search and its winner on the final documents."""

    settings: Settings
    origin: str  # how the winner came about
    nll: list  # of each final document
    cost: Cost
    all_scored: dict  # {kind: evaluations}, those of the baselines of `longrope best` too
    heldout: float  # perplexity that chose it


@dataclasses.dataclass
class LengthResult:
    length: int
    tokens: list  # of each final document
    closed_forms: dict  # {name: NLL of each document}
    paper: list  # outcomes of (b), one for each seed
    authors: list  # of (a)
    searches: list  # outcomes of the methods that are compared
    # {method of a baseline: {passes: [NLL of each document, for each seed]}}: the best candidates up to then.
    incumbents: dict = dataclasses.field(default_factory=dict)

    def log_perplexity(self, nll):
        return log_perplexity(nll, self.tokens)

    def perplexity(self, nll):
        return math.exp(self.log_perplexity(nll))

    @property
    def reference(self):
        """NLL of each document, the mean of (b)'s winners; its perplexity is their geometric mean."""
        return mean_nll([outcome.nll for outcome in self.paper])

    def against_paper(self, nll):
        difference, low, high = paired_interval(nll, self.reference, self.tokens)
        return f"{difference:+.4f} [{low:+.4f}, {high:+.4f}]"


def count_near(perplexities, reference):
    """(how many are at most WITHIN above the reference, how many not above it)."""
    return (sum(1 for each in perplexities if each <= (1 + WITHIN) * reference),
            sum(1 for each in perplexities if each <= reference))


def groups(searches):
    """{(label, passes): outcomes by seed}, labels in the order they came, budgets ascending."""
    labels = list(dict.fromkeys(outcome.settings.label for outcome in searches))
    found = {}
    for outcome in sorted(searches, key=lambda each: (labels.index(each.settings.label), each.settings.passes,
                                                      each.settings.seed)):
        found.setdefault((outcome.settings.label, outcome.settings.passes), []).append(outcome)
    return found


def spread(numbers, form):
    numbers = list(numbers)
    middle = format(statistics.median(numbers), form)
    return middle if len(numbers) == 1 else f"{middle} ({min(numbers):{form}}–{max(numbers):{form}})"


def table(header, rows):
    return ["| " + " | ".join(header) + " |", "|" + "---|" * len(header),
            *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows), ""]


def winners_table(result):
    rows = [[name, "", "", f"{result.perplexity(nll):.4f}", result.against_paper(nll)]
            for name, nll in result.closed_forms.items()]
    for name, outcomes in (("(a) authors", result.authors), ("(b) longrope, m = 1", result.paper)):
        rows += [[f"{name}, seed {outcome.settings.seed}", outcome.cost.scores, f"{outcome.heldout:.4f}",
                  f"{result.perplexity(outcome.nll):.4f}", result.against_paper(outcome.nll)] for outcome in outcomes]
    rows.append(["**mean of (b)**", "", "", f"**{result.perplexity(result.reference):.4f}**", ""])
    return table(["", "dp", "held-out", "final", "ln perplexity against (b)"], rows)


def seeds_table(result, budgets):
    """Perplexity of each seed's winner, a column for each budget."""
    by_seed = {}
    for passes, outcomes in budgets.items():
        for outcome in outcomes:
            by_seed.setdefault(outcome.settings.seed, {})[passes] = f"{result.perplexity(outcome.nll):.4f}"
    rows = [[f"seed {seed}", *(cells.get(passes, "") for passes in budgets)]
            for seed, cells in sorted(by_seed.items())]
    return table(["perplexity", *(f"{passes} dp" for passes in budgets)], rows)


def summary_table(result, budgets):
    reference = result.perplexity(result.reference)
    rows = []
    for passes, outcomes in budgets.items():
        perplexities = [result.perplexity(outcome.nll) for outcome in outcomes]
        near, not_above = count_near(perplexities, reference)
        mean = mean_nll([outcome.nll for outcome in outcomes])
        rows.append([passes, f"{result.perplexity(mean):.4f} ({min(perplexities):.4f}–{max(perplexities):.4f})",
                     result.against_paper(mean),
                     f"{near} of {len(outcomes)}", f"{not_above} of {len(outcomes)}"])
    return table(["budget, dp", "perplexity (min–max)", "ln perplexity against (b)", f"within {100 * WITHIN:g} %",
                  "not above"], rows)


def differences_table(result, budgets):
    """Each seed's winner against the mean of (b)."""
    rows = [[outcome.settings.seed, passes, result.against_paper(outcome.nll), outcome.origin]
            for passes, outcomes in budgets.items() for outcome in outcomes]
    return table(["seed", "budget, dp", "ln perplexity against (b)", "winner"], rows)


def spent_table(budgets):
    rows = []
    for passes, outcomes in budgets.items():
        costs = [outcome.cost for outcome in outcomes]
        everything = " + ".join(f"{spread((outcome.all_scored.get(kind, 0) for outcome in outcomes), '.0f')} {kind}"
                                for kind in sorted({kind for outcome in outcomes for kind in outcome.all_scored}))
        with_gradients = [cost.ratio for cost in costs if cost.gradients]
        rows.append([passes, spread((cost.scores for cost in costs), ".0f"),
                     spread((cost.gradients for cost in costs), ".0f"),
                     spread(with_gradients, ".2f") if with_gradients else "–",
                     spread((cost.passes for cost in costs), ".1f"), everything])
    return table(["budget, dp", "scores", "gradients", "dp of a gradient", "dp spent",
                  "all, with the baselines of `best`"], rows)


def curve_table(result, grouped):
    """Perplexity over the budget: winners of the methods, best candidates so far of the baselines."""
    labels = list(dict.fromkeys(label for label, _ in grouped))
    cells = {}
    for (label, passes), outcomes in grouped.items():
        cells.setdefault(passes, {})[label] = result.perplexity(mean_nll([outcome.nll for outcome in outcomes]))
    for method, points in result.incumbents.items():
        for passes, scores in points.items():
            cells.setdefault(passes, {})[method] = result.perplexity(mean_nll(scores))
    for method, outcomes in (("(b)", result.paper), ("(a)", result.authors)):
        if outcomes:
            cells.setdefault(BASELINE_PASSES, {})[method] = result.perplexity(mean_nll([each.nll for each in outcomes]))
    columns = [*labels, "(b)", "(a)"]
    rows = [[passes, *(f"{row[column]:.4f}" if column in row else "" for column in columns)]
            for passes, row in sorted(cells.items())]
    return table(["dp", *columns], rows)


def length_section(result):
    grouped = groups(result.searches)
    lines = [f"## {result.length:,} tokens", "", f"{len(result.tokens)} final documents.", "", *winners_table(result)]
    if not grouped:
        return lines
    lines += ["Perplexity over the budget, the mean of all seeds. (a) and (b) before their end: the best candidate on "
              "the search documents up to then.", "", *curve_table(result, grouped)]
    for label in dict.fromkeys(label for label, _ in grouped):
        budgets = {passes: outcomes for (each, passes), outcomes in grouped.items() if each == label}
        lines += [f"### {label}", "", *summary_table(result, budgets), *seeds_table(result, budgets),
                  *differences_table(result, budgets), *spent_table(budgets)]
    return lines


def page(title, about: Optional[list], results):
    lines = [f"# {title}", "", *(about or [])]
    lines += [
        "One dp is one document forwarded once at the target length. A gradient counts as many as its mean time is of "
        "a score's, in the database of the same run. All evaluations of a search count, with those that choose among "
        "finalists on held-out documents; only the baselines of `longrope best` do not. The choice of (a) and (b) "
        f"comes on top of their {BASELINE_PASSES:,} dp. Perplexities are per token of final documents, which neither "
        "searched nor chose. Differences of ln perplexity are against the mean of (b)'s winners, with the 95 % "
        f"interval of a bootstrap over documents ({RESAMPLES:,} resamples, paired).", ""]
    for result in results:
        lines += length_section(result)
    return "\n".join(lines).rstrip("\n") + "\n"
