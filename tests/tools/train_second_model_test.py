"""bench/search/train_second_model.py: a stopped training goes on as it would have; its shape is the one announced."""

import argparse
import os
import pathlib
import sys

import pytest

torch = pytest.importorskip("torch", reason="NOT RUN: torch is not installed")
pytest.importorskip("transformers", reason="NOT RUN: transformers is not installed")

ROOT = pathlib.Path(os.environ["LONGROPE_SOURCE_DIR"])
sys.path.insert(0, str(ROOT / "bench" / "search"))

import train_second_model as training


def arguments(**changes):
    return argparse.Namespace(**{"tiny": True, "length": 16, "seed": 1, "steps": 6, "batch_size": 2, "warmup_steps": 2,
                                 "learning_rate": 1e-2, "weight_decay": 0.1, "arithmetic": "fp32", **changes})


def test_a_continued_training_has_the_weights_of_one_that_was_not_stopped(tmp_path):
    """Bit for bit, on one thread."""
    torch.set_num_threads(1)
    settings, text = arguments(), torch.arange(200, dtype=torch.uint8)
    whole = training.make_model(settings)
    optimizer = training.make_optimizer(whole, settings)
    losses = [training.update(whole, optimizer, text, step, settings) for step in range(6)]
    stopped = training.make_model(settings)
    optimizer = training.make_optimizer(stopped, settings)
    for step in range(3):
        training.update(stopped, optimizer, text, step, settings)
    training.write_state(tmp_path / "state.pt", stopped, optimizer, 3, {"seed": 1})
    continued = training.make_model(arguments(seed=2))
    optimizer = training.make_optimizer(continued, settings)
    assert training.read_state(tmp_path / "state.pt", continued, optimizer, {"seed": 1}) == 3
    assert [training.update(continued, optimizer, text, step, settings) for step in range(3, 6)] == losses[3:]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), continued.parameters(), strict=True))
    with pytest.raises(SystemExit, match="must have the same settings"):
        training.read_state(tmp_path / "state.pt", continued, optimizer, {"seed": 2})


def test_a_training_begins_at_update_0_without_a_state(tmp_path):
    assert training.read_state(tmp_path / "state.pt", None, None, {}) == 0


def test_the_model_differs_from_the_bundled_one_where_factors_depend_on_it():
    with torch.device("meta"):
        model = training.make_model(arguments(tiny=False, length=1024))
    config = model.config
    assert config.rope_parameters["rope_theta"] == 500_000 and config.max_position_embeddings == 1024
    assert (config.head_dim, config.num_attention_heads // config.num_key_value_heads) == (32, 4)
    assert sum(weight.numel() for weight in model.parameters()) == 4_952_320  # counted by hand
    assert (config.vocab_size, config.bos_token_id) == (258, 256)


def test_samples_begin_with_bos_and_stay_in_the_text():
    text = torch.arange(100, dtype=torch.uint8)
    starts = training.sample_starts(seed=1, step=5, count=1000, last=100 - 15)
    assert starts.min() == 0 and starts.max() == 85
    rows = training.samples(text, [0, 85], 16)
    assert rows[:, 0].tolist() == [256, 256] and rows[0, 1:].tolist() == list(range(15))
    assert rows[1, 1:].tolist() == list(range(85, 100))
    assert training.sample_starts(1, 5, 1000, 85).tolist() == starts.tolist()
    assert training.sample_starts(1, 6, 1000, 85).tolist() != starts.tolist()


def test_the_learning_rate_warms_up_stays_and_falls():
    settings = arguments(steps=100, warmup_steps=10, learning_rate=2.0)
    rates = [training.learning_rate(step, settings) for step in range(100)]
    assert rates[0] == pytest.approx(0.2) and rates[10:70] == [2.0] * 60
    assert rates[85] == pytest.approx(1.0) and rates[99] == pytest.approx(2.0 / 30)
