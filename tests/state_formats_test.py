"""A new format of state is one file: a snapshot is whole, with hyperparameters and leftovers."""

import numpy as np
import pytest
import safetensors_format
import tensorflow as tf

import tfopt


def variables(names=("kernel", "bias")):
    shapes = {"kernel": [3, 2], "bias": [2], "head": [4]}
    return [tf.Variable(tf.ones(shapes[name]), name=name) for name in names]


def make():
    return tfopt.Nadam(0.125, use_ema=True, gradient_accumulation_steps=2, skip_nonfinite=True)


def train(optimizer, own, steps=3):
    for step in range(steps):
        optimizer.apply_gradients([(tf.cos(v + step), v) for v in own])


def assert_same(optimizer, others):
    for one, other in zip(optimizer.get_weights(), others, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("slots_first", [False, True], ids=["into none", "into slots"])
def test_training_goes_on_bit_for_bit(slots_first, tmp_path):
    optimizer, own = make(), variables()
    train(optimizer, own)
    optimizer.learning_rate = 0.0625
    safetensors_format.save(optimizer, tmp_path / "state")
    again, copies = make(), variables()
    if slots_first:
        train(again, copies, 1)
    safetensors_format.load(again, tmp_path / "state")
    for copy, variable in zip(copies, own, strict=True):
        copy.assign(variable)
    for each, its in ((optimizer, own), (again, copies)):
        train(each, its)
    assert_same(again, optimizer.get_weights())
    assert again.get_config()["learning_rate"] == 0.0625


def test_what_waits_for_variables_is_saved_too(tmp_path):
    optimizer, own = make(), variables(("kernel", "bias", "head"))
    optimizer.build(own[:2])
    optimizer.build(own[2:])
    train(optimizer, own)
    safetensors_format.save(optimizer, tmp_path / "state")
    half = make()
    safetensors_format.load(half, tmp_path / "state")
    half.build(own[:2])  # the slots of `head` still wait
    safetensors_format.save(half, tmp_path / "half")
    whole = make()
    safetensors_format.load(whole, tmp_path / "half")
    whole.build(own[:2])
    whole.build(own[2:])
    assert_same(whole, optimizer.get_weights())


def test_a_list_that_waits_is_saved_too(tmp_path):
    optimizer, own = make(), variables()
    train(optimizer, own)
    waiting, again, built = make(), make(), make()
    waiting.set_weights(optimizer.get_weights())
    safetensors_format.save(waiting, tmp_path / "state")
    safetensors_format.load(again, tmp_path / "state")
    again.build(own)
    assert_same(again, optimizer.get_weights())
    built.build(own)
    safetensors_format.load(built, tmp_path / "state")
    assert_same(built, optimizer.get_weights())


def test_what_does_not_fit_changes_nothing(tmp_path):
    optimizer, own = make(), variables()
    train(optimizer, own)
    safetensors_format.save(optimizer, tmp_path / "state")
    other = make()
    other.build(variables(("head",)))
    before = other.get_weights()
    with pytest.raises(ValueError, match="no values for 7 of 7 slots .m, v, .* of `head`"):
        safetensors_format.load(other, tmp_path / "state")
    assert_same(other, before)
    assert other.get_config()["learning_rate"] == 0.125


def test_the_library_reads_the_file(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    optimizer, own = make(), variables()
    train(optimizer, own)
    safetensors_format.save(optimizer, tmp_path / "state")
    arrays = safetensors.load_file(tmp_path / "state")
    np.testing.assert_array_equal(arrays["0|kernel|m"], optimizer.get_slot(own[0], "m"))
