"""Hooks of OptimizerV2's kind."""

import numpy as np
import pytest
import tensorflow as tf

import tfopt


class Hooked(tfopt.SGD):
    """A step of OptimizerV2's kind."""

    def resource_apply_dense(self, grad, var):
        return super().resource_apply_dense(2.0 * grad, var)


@pytest.mark.parametrize("cls", [tfopt.SGD, Hooked])
def test_a_hook_called_outside_of_a_step_says_so(cls):
    opt, variable = cls(1.0), tf.Variable([[1.0, 2.0]])
    for built in (False, True):
        if built:  # by a step, of which nothing is left
            opt.apply_gradients([(tf.ones([1, 2]), variable)])
        with pytest.raises(RuntimeError, match="`resource_apply_dense` of .* outside of a step"):
            opt.resource_apply_dense(tf.ones([1, 2]), variable)
        with pytest.raises(RuntimeError, match="`resource_apply_sparse` of .* outside of a step"):
            opt.resource_apply_sparse(tf.ones([1, 2]), variable, tf.constant([0]))
    moved = 2.0 if cls is Hooked else 1.0
    np.testing.assert_array_equal(variable, [[1.0 - moved, 2.0 - moved]])


@pytest.mark.parametrize("clip", [{}, {"clipnorm": 1.0}])
@pytest.mark.parametrize("sparse", [False, True])
def test_hooks_get_gradients_of_the_variables_dtype(clip, sparse):
    seen = []

    class Hooked(tfopt.Optimizer):
        def resource_apply_dense(self, grad, var):
            seen.append(grad.dtype)

    gradient = tf.ones([2, 1], tf.float16)
    if sparse:
        gradient = tf.IndexedSlices(gradient, tf.constant([0, 0]))
    Hooked(**clip).apply_gradients([(gradient, tf.Variable(tf.ones([2, 1], tf.float16)))])
    assert seen == [tf.float16]
