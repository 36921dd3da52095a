"""Wrappers on the base of tfopt.legacy, and tfopt's loss scale around it."""

import numpy as np
import pytest
import tensorflow as tf
from either_base import FIXTURES, OURS, V2, new_variables, random_steps, scaled
from training import assert_same, train, values_of

import tfopt


def test_slots_may_come_before_the_first_step():
    """A wrapper that delegates the whole step, and copies the model before."""

    class Shadow(OURS.Optimizer):
        def __init__(self, optimizer, name="Shadow", **kwargs):
            super().__init__(name, **kwargs)
            self._optimizer = optimizer

        def shadow(self, var_list):
            for var in var_list:
                self.add_slot(var, "shadow", initializer="zeros")

        def _create_slots(self, var_list):
            self._optimizer._create_slots(var_list=var_list)

        def apply_gradients(self, grads_and_vars, name=None):
            pairs = list(grads_and_vars)
            result = self._optimizer.apply_gradients(pairs, name)
            for _, var in pairs:
                self.get_slot(var, "shadow").assign(var)
            return result

    x = tf.Variable(1.0)
    optimizer = Shadow(OURS.SGD(0.5, momentum=0.5))
    optimizer.shadow([x])
    optimizer.minimize(lambda: x * x / 2, [x])
    assert optimizer.get_slot(x, "shadow").numpy() == x.numpy() == 0.5
    assert optimizer._optimizer.iterations.numpy() == 1


def test_a_wrapper_may_hold_an_optimizer_v2():
    class Forwarding(OURS.Optimizer):
        def __init__(self, optimizer, name="Forwarding", **kwargs):
            super().__init__(name, **kwargs)
            self._optimizer = optimizer

        def _create_slots(self, var_list):
            self._optimizer._create_slots(var_list=var_list)

        def apply_gradients(self, grads_and_vars, name=None, **kwargs):
            self._optimizer._iterations = self.iterations
            return super().apply_gradients(grads_and_vars, name, **kwargs)

        def _resource_apply_dense(self, grad, var):
            return self._optimizer._resource_apply_dense(grad, var)

        def _resource_apply_sparse(self, grad, var, indices):
            return self._optimizer._resource_apply_sparse(grad, var, indices)

    results = []
    for wrap in (lambda optimizer: optimizer, Forwarding):
        optimizer, variables = wrap(V2.Adam(0.1)), new_variables()
        train(optimizer, variables, random_steps(), "graph")
        results.append(variables)
    for expected, actual in zip(*results, strict=True):
        np.testing.assert_allclose(actual.numpy(), expected.numpy(), 1e-12)


@pytest.mark.parametrize("name", ["decoupled_adam", "averaging"])
def test_a_loss_scale_leaves_out_steps_that_are_not_finite(name):
    results = []
    for wrap in (lambda optimizer: optimizer, tfopt.LossScaleOptimizer):
        inner, variables = FIXTURES[name](OURS), new_variables()
        optimizer = wrap(inner)
        scale = 1.0 if optimizer is inner else float(optimizer.loss_scale)
        for step in random_steps(3):
            pairs = [(scaled(g, scale), v) for g, v in zip(step, variables, strict=True)]
            optimizer.apply_gradients(pairs)
            if optimizer is not inner:
                before = [variable.numpy() for variable in variables]
                optimizer.apply_gradients([(scaled(g, np.inf), v) for g, v in pairs])
                scale = float(optimizer.loss_scale)
                for old, variable in zip(before, variables, strict=True):
                    np.testing.assert_array_equal(variable.numpy(), old)
        results.append((inner, variables))
    (plain, plain_variables), (guarded, guarded_variables) = results
    assert_same(values_of(guarded_variables, guarded), values_of(plain_variables, plain), 1e-10)


def test_a_loss_scale_that_would_be_lost_raises():
    class Delegating(OURS.Optimizer):
        def __init__(self, name="Delegating"):
            super().__init__(name)
            self.inner = OURS.SGD()

        def apply_gradients(self, grads_and_vars, name=None):
            return self.inner.apply_gradients(grads_and_vars, name)

    x = tf.Variable(1.0)
    Delegating().apply([tf.constant(1.0)], [x])
    with pytest.raises(RuntimeError, match="base class"):
        tfopt.LossScaleOptimizer(Delegating()).apply_gradients([(tf.constant(1.0), x)])
