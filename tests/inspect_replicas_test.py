"""`tfopt.inspect.replicas` says which copies are unequal, and where."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from training import train_on_replicas

import tfopt


@pytest.fixture
def trained(mirrored):
    """A function that makes an optimizer with its variables, after a step on two replicas."""

    def make(optimizer):
        with mirrored.scope():
            variables = [tf.Variable([[1.0, 2.0]], name="w"), tf.Variable([3.0], name="b")]
        steps = [[np.ones([2, 1, 2], "float32"), np.ones([2, 1], "float32")]]
        train_on_replicas(mirrored, optimizer, variables, steps)
        return optimizer, variables

    return make


def test_equal_copies_are_no_difference(trained):
    optimizer, _ = trained(tfopt.Nadam(use_ema=True, gradient_accumulation_steps=2))
    assert tfopt.inspect.replicas(optimizer) == []
    alone, variable = tfopt.Adam(), tf.Variable(1.0)
    alone.build([variable])
    assert tfopt.inspect.replicas(alone) == []


def test_each_unequal_copy_is_named(trained):
    optimizer, (w, b) = trained(tfopt.Adam())
    w.values[1].assign([[0.5, 1.75]])
    optimizer.get_slot(b, "v").values[1].assign([np.nan])
    optimizer.iterations.values[1].assign(7)
    of_count, of_w, of_slot = tfopt.inspect.replicas(optimizer)
    first = w.values[0].numpy()
    assert (of_w.variable, of_w.slot, of_w.replicas, of_w.index) == ("w", "", (1,), (0, 0))
    assert of_w.largest == np.abs(first[0, 0] - 0.5)
    assert (of_slot.variable, of_slot.slot, of_slot.index) == ("b", "v", (0,))
    assert np.isnan(of_slot.largest)
    assert (of_count.variable, of_count.largest, of_count.index) == ("iterations", 6.0, ())


def test_the_loss_scale_is_compared_too(trained, mirrored):
    with mirrored.scope():
        optimizer = tfopt.LossScaleOptimizer(tfopt.SGD())
    optimizer, _ = trained(optimizer)
    assert tfopt.inspect.replicas(optimizer) == []
    [scale] = [v for v in optimizer.variables if "scale" in v.name]
    scale.values[1].assign(1.0)
    [found] = tfopt.inspect.replicas(optimizer)
    assert "scale" in found.variable


def test_the_wrapper_of_keras_is_looked_into(trained):
    optimizer, _ = trained(tfopt.SGD())
    wrapped = keras.optimizers.LossScaleOptimizer(optimizer)
    assert tfopt.inspect.replicas(wrapped) == []


def test_where_it_cannot_be_called(mirrored):
    optimizer = tfopt.Adam()
    with pytest.raises(ValueError, match="`optimizer` must have seen variables"):
        tfopt.inspect.replicas(optimizer)
    with pytest.raises(TypeError, match="`optimizer` must be a tfopt"):
        tfopt.inspect.replicas("adam")
    optimizer.build([tf.Variable(1.0)])
    with pytest.raises(RuntimeError, match="between steps"):
        tf.function(lambda: tfopt.inspect.replicas(optimizer))()
    with pytest.raises(RuntimeError, match="between steps"):
        mirrored.run(lambda: tfopt.inspect.replicas(optimizer))
