"""Optimizers by hooks of OptimizerV2's kind: what they are called with, and where they raise."""

import numpy as np
import pytest
import tensorflow as tf

import tfopt


class Hooked(tfopt.Optimizer):
    """Momentum, written as the page tells: by overriding the four methods."""

    def __init__(self, learning_rate=0.1, momentum=0.5, name="Hooked", **kwargs):
        super().__init__(name, **kwargs)
        self._set_hyper("learning_rate", kwargs.get("lr", learning_rate))
        self._set_hyper("momentum", momentum)

    def create_slots(self, var_list):
        for var in var_list:
            self.add_slot(var, "velocity", "zeros")

    def resource_apply_dense(self, grad, var):
        velocity = self.get_slot(var, "velocity")
        momentum = self._get_hyper("momentum", var.dtype)
        velocity.assign(momentum * velocity - self._decayed_lr(var.dtype) * grad)
        return var.assign_add(velocity)

    def resource_apply_sparse(self, grad, var, indices):
        velocity = self.get_slot(var, "velocity")
        momentum = self._get_hyper("momentum", var.dtype)
        rows = momentum * tf.gather(velocity, indices) - self._decayed_lr(var.dtype) * grad
        velocity.scatter_update(tf.IndexedSlices(rows, indices))
        return var.scatter_add(tf.IndexedSlices(rows, indices))

    def get_config(self):
        return {
            **super().get_config(),
            "learning_rate": self._serialize_hyperparameter("learning_rate"),
            "momentum": self._serialize_hyperparameter("momentum"),
        }


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
@pytest.mark.parametrize("sparse", [False, True])
def test_customized_optimizer_by_hooks(mode, sparse):
    ours, variable = Hooked(0.1, 0.5, decay=0.25), tf.Variable([[1.0], [2.0]])
    same, other = tfopt.SGD(0.1, momentum=0.5, decay=0.25), tf.Variable([[1.0], [2.0]])

    def step(gradient):
        if sparse:
            gradient = tf.IndexedSlices(tf.ones([3, 1]), tf.constant([1, 0, 1]))
        ours.apply_gradients([(gradient, variable)])

    if mode != "eager":
        step = tf.function(step, jit_compile=mode == "xla")
    for value in (1.0, 2.0, 3.0):
        gradient = tf.fill([2, 1], value)
        step(gradient)
        if sparse:
            gradient = tf.IndexedSlices(tf.ones([3, 1]), tf.constant([1, 0, 1]))
        same.apply_gradients([(gradient, other)])
    np.testing.assert_allclose(variable, other.numpy(), rtol=1e-6)
    assert ours.learning_rate.numpy() == np.float32(0.1)
    ours.learning_rate = 0.5
    assert ours.get_config()["learning_rate"] == 0.5
    assert Hooked.from_config(ours.get_config()).get_config() == ours.get_config()


def test_hooks_run_under_mirrored_strategy(mirrored):
    with mirrored.scope():
        variable = tf.Variable([1.0, 2.0])
        opt = Hooked(0.1)

    @tf.function
    def step():
        mirrored.run(lambda: opt.apply_gradients([(tf.constant([1.0, 1.0]), variable)]))

    step()
    step()
    for copy in mirrored.experimental_local_results(variable):
        np.testing.assert_allclose(copy, [1 - 0.2 - 0.3, 2 - 0.2 - 0.3], rtol=1e-6)


def test_lr_keyword_reaches_a_hooked_optimizer():
    assert Hooked(lr=0.25).learning_rate.numpy() == 0.25
    assert Hooked(lr=0.25).lr.numpy() == 0.25


def test_lr_keyword_that_nobody_reads_raises():
    class Deaf(tfopt.Optimizer):
        def update(self, g, x, s, h):
            return x - g

    with pytest.raises(TypeError, match="lr"):
        Deaf(lr=0.5).build([tf.Variable(1.0)])


def test_underscore_hooks_raise_where_nothing_calls_them():
    with pytest.raises(RuntimeError, match="create_slots"):

        class Wrong(tfopt.Optimizer):
            def _create_slots(self, var_list):
                pass


class Doubling(tfopt.SGD):
    """A hook that calls the one it overrides."""

    def resource_apply_dense(self, grad, var):
        return super().resource_apply_dense(2.0 * grad, var)


@pytest.mark.parametrize("cls", [tfopt.SGD, Doubling])
def test_a_hook_called_outside_of_a_step_says_so(cls):
    opt, variable = cls(1.0), tf.Variable([[1.0, 2.0]])
    for built in (False, True):
        if built:  # by a step, of which nothing is left
            opt.apply_gradients([(tf.ones([1, 2]), variable)])
        with pytest.raises(RuntimeError, match="`resource_apply_dense` of .* outside of a step"):
            opt.resource_apply_dense(tf.ones([1, 2]), variable)
        with pytest.raises(RuntimeError, match="`resource_apply_sparse` of .* outside of a step"):
            opt.resource_apply_sparse(tf.ones([1, 2]), variable, tf.constant([0]))
    moved = 2.0 if cls is Doubling else 1.0
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
