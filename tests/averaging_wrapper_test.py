"""Wrappers that sum gradients over processes in a class made at run time, as Horovod's for Keras.

The wrapper copies the body of a class into a subclass of the optimizer's class, so that its methods
find the optimizer's own by `super(self.__class__, self)`. Which method sums depends on the version
of Keras that it finds: the first one that is called does, and the others see that it was done.
"""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tfopt

OPTIMIZERS = {  # of which each notices when gradients are doubled
    "new SGD": lambda: tfopt.SGD(0.05, momentum=0.9),
    "new Adam": lambda: tfopt.Adam(0.05, epsilon=0.5),
    "legacy SGD": lambda: tfopt.legacy.SGD(0.05, momentum=0.9),
    "legacy Adam": lambda: tfopt.legacy.Adam(0.05, epsilon=0.5),
}
X = np.random.default_rng(0).normal(size=[16, 3]).astype(np.float32)
Y = X.sum(axis=1, keepdims=True) + 1
STEPS = 6


def all_reduced(gradient, processes):
    """The sum over processes that all have the same gradient."""
    if isinstance(gradient, tf.IndexedSlices):
        shape = gradient.dense_shape
        return tf.IndexedSlices(processes * gradient.values, gradient.indices, shape)
    return None if gradient is None else processes * gradient


def body_of(method):
    """The class of which a wrapper copies the body; `method` is the one for losses."""

    class _DistributedOptimizer(keras.optimizers.Optimizer):
        _HAS_AGGREGATE_GRAD = True

        def __init__(self, **kwargs):
            super(self.__class__, self).__init__(**kwargs)
            self._processes, self._reduced, self.reductions = 1, False, 0

        def _all_reduce(self, gradients):
            self._reduced = True
            self.reductions += 1
            return [all_reduced(gradient, self._processes) for gradient in gradients]

        def _pairs(self, pairs):
            pairs = list(pairs)
            gradients = self._all_reduce([gradient for gradient, _ in pairs])
            return list(zip(gradients, [variable for _, variable in pairs], strict=True))

        if method == "_compute_gradients":

            def _compute_gradients(self, loss, var_list, grad_loss=None, tape=None):
                parent = super(self.__class__, self)
                return self._pairs(parent._compute_gradients(loss, var_list, grad_loss, tape=tape))

        else:

            def compute_gradients(self, loss, var_list, tape=None):
                parent = super(self.__class__, self)
                return self._pairs(parent.compute_gradients(loss, var_list, tape))

        def get_gradients(self, loss, params):
            return self._all_reduce(super(self.__class__, self).get_gradients(loss, params))

        def _aggregate_gradients(self, grads_and_vars):
            if self._reduced:
                return super(self.__class__, self)._aggregate_gradients(grads_and_vars)
            return self._pairs(grads_and_vars)

        def apply_gradients(self, grads_and_vars, *args, **kwargs):
            parent, pairs = super(self.__class__, self), list(grads_and_vars)
            if not self._reduced:
                pairs = self._pairs(pairs)
            result = parent.apply_gradients(pairs, *args, **kwargs)
            self._reduced = False
            return result

    return dict(_DistributedOptimizer.__dict__)


def distributed(optimizer, method, processes):
    cls = type(optimizer)
    cls = type(cls.__name__, (cls,), body_of(method))
    wrapped = cls.from_config(optimizer.get_config())
    wrapped._processes = processes
    return wrapped


# --- ways to train, with a loss that is multiplied by a factor ------------------------------------


def by_fit(library):
    def train(optimizer, factor):
        library.utils.set_random_seed(1)
        model = library.Sequential([library.layers.Dense(2, "tanh"), library.layers.Dense(1)])
        model.compile(optimizer, lambda y, p: factor * tf.reduce_mean((p - y) ** 2, axis=-1))
        model.fit(X, Y, batch_size=8, epochs=STEPS // 2, verbose=0, shuffle=False)
        return model.get_weights()

    return train


def start():
    table = tf.reshape(tf.range(6.0), [3, 2])
    return [tf.Variable([[1.0], [0.5], [-1.0]]), tf.Variable([0.5]), tf.Variable(table)]


def loss_of(variables, factor):
    w, b, table = variables
    rows = tf.gather(table, [0, 2, 0])  # whose gradient is of rows
    return factor * (tf.reduce_mean((X @ w + b - Y) ** 2) + tf.reduce_sum(rows**2))


def by_minimize(optimizer, factor):
    variables = start()
    for _ in range(STEPS):
        optimizer.minimize(lambda: loss_of(variables, factor), variables)
    return [variable.numpy() for variable in variables]


def by_tape(optimizer, factor):
    variables = start()

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = loss_of(variables, factor)
        gradients = tape.gradient(loss, variables)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    for _ in range(STEPS):
        step()
    return [variable.numpy() for variable in variables]


WAYS = {
    "fit of Keras 3": by_fit(keras),
    "fit of tf-keras": by_fit(tf_keras),
    "minimize": by_minimize,
    "tape": by_tape,
}


@functools.cache
def trained_alone(make, train):
    """The weights with the gradients as they are, and with doubled ones."""
    return train(make(), 1.0), train(make(), 2.0)


@pytest.mark.parametrize("method", ["_compute_gradients", "compute_gradients"])
@pytest.mark.parametrize("train", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_wrapper_that_sums_over_processes(make, train, method):
    plain, doubled = trained_alone(make, train)
    for processes, expected in ((1, plain), (2, doubled)):
        optimizer = distributed(make(), method, processes)
        for value, wanted in zip(train(optimizer, 1.0), expected, strict=True):
            np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-6)
        assert optimizer.reductions and int(optimizer.iterations) == STEPS
    assert any(not np.allclose(a, b, 1e-4, 1e-4) for a, b in zip(plain, doubled, strict=True))
