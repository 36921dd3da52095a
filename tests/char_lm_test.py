"""The race of docs/choosing.md runs what it says, and the page has the figures of its last run."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

ROOT = Path(__file__).resolve().parents[1]
SPEC = importlib.util.spec_from_file_location("char_lm", ROOT / "tests/benchmarks/char_lm.py")
char_lm = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(char_lm)


@pytest.fixture(scope="module")
def weights():
    return char_lm.make_weights(0)


def test_a_prediction_depends_on_every_character_before_it_and_on_none_after(weights):
    length = 12
    text = np.random.default_rng(0).integers(0, char_lm.VOCABULARY, length)
    others = np.tile(text, [length, 1])
    np.fill_diagonal(others, (text + 1) % char_lm.VOCABULARY)  # the i-th differs at i
    batch = tf.constant(np.concatenate([text[np.newaxis], others]), tf.int32)
    logits = char_lm.predict(weights, batch).numpy()
    changed = np.abs(logits[1:] - logits[0]).max(axis=-1) > 1e-6
    np.testing.assert_array_equal(changed, np.triu(np.ones([length, length], bool)))


def test_the_loss_is_that_of_the_next_characters(weights):
    texts = np.random.default_rng(0).integers(0, char_lm.VOCABULARY, [3, 12]).astype("int32")
    logits = char_lm.predict(weights, tf.constant(texts[:, :-1])).numpy()
    all_losses = np.log(np.exp(logits).sum(axis=-1, keepdims=True)) - logits
    losses = np.take_along_axis(all_losses, texts[:, 1:, np.newaxis], axis=-1)
    loss = char_lm.mean_loss(weights, tf.constant(texts))
    np.testing.assert_allclose(loss, losses.mean(), rtol=1e-5)


def test_the_rate_rises_stays_and_falls():
    schedule = char_lm.WarmupStableDecay(2.0, 600)
    rates = [float(schedule(step)) for step in (0, 24, 49, 420, 510, 600)]
    np.testing.assert_allclose(rates, [0.04, 1, 2, 2, 1, 0], rtol=1e-6)


def test_muon_trains_the_hidden_matrices(weights):
    optimizer = char_lm.muon(0.1, 600)
    kinds = {
        name.split("_")[0] for name, x in weights.items() if optimizer.choose_role(x) == "matrix"
    }
    assert kinds == {"query", "key", "value", "mix", "up", "down"}


def test_a_best_rate_is_between_others():
    assert char_lm.beyond({1.0: 3.0, 2.0: 1.0, 4.0: 2.0}) == []
    assert char_lm.beyond({1.0: 1.0, 2.0: 2.0, 4.0: 3.0}) == [0.5]
    assert char_lm.beyond({1.0: 3.0, 2.0: 2.0, 4.0: 1.0}) == [8.0]


def test_the_page_has_the_figures_of_the_last_run():
    results = json.loads(char_lm.RESULTS.read_text())
    page = (ROOT / "docs/choosing.md").read_text()
    assert "\n".join(char_lm.table(results["contestants"])) in page
