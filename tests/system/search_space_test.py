"""Searches inside what an engine computes by a formula: their winners are exported as that formula, without a table."""

import json

import pytest

from longrope_processes import MODEL, best, longrope, write_gradient_search


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Configuration and database of a finished search in each space, by the name of the space."""
    found = {}

    def search(space):
        if space not in found:
            folder = tmp_path_factory.mktemp(space)
            config = write_gradient_search(folder, space=space)
            longrope("run", config, "--db", folder / "search.db", "--workers", 2)
            found[space] = config, folder / "search.db"
        return found[space]
    return search


def nll_sums(model, config, *options):
    printed = longrope("score", "--model", model, "--documents", config.parent / "heldout.safetensors", "--length", 640,
                       "--json", *options).stdout
    return [document["nll_sum"] for document in json.loads(printed)["documents"]]


@pytest.mark.parametrize(("space", "rope_type"), [("theta", "default"), ("yarn", "yarn"), ("llama3", "llama3")])
def test_winner_is_exported_as_its_formula_with_the_same_nll(searched, tmp_path, space, rope_type):
    config, database = searched(space)
    longrope("export", "--db", database, "--model", MODEL, "--engine", "transformers", "--out", tmp_path / "model", "--force")
    longrope("export", "--db", database, "--model", MODEL, "--format", "json", "--out", tmp_path / "factors.json", "--force")
    rope = json.loads((tmp_path / "model" / "config.json").read_text())["rope_parameters"]
    assert rope["rope_type"] == rope_type
    assert "long_factor" not in rope
    expected = nll_sums(MODEL, config, "--factors", tmp_path / "factors.json")
    assert nll_sums(tmp_path / "model", config) == pytest.approx(expected, rel=1e-5)


def test_every_lambda_of_theta_follows_from_one_base(searched):
    _, database = searched("theta")
    factors = best(database)["lambda"]
    base = factors[-1] ** (1 / (len(factors) - 1))
    assert factors == pytest.approx([base**pair for pair in range(len(factors))], rel=1e-9)
