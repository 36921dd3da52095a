"""What optimizers written for OptimizerV2 are used to, besides its hooks."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import third_party
from either_base import EIGHT, OURS, V2, each_base

import tfopt

# --- tf-keras in v1 graphs, where nobody runs an initializer --------------------------------------


def fitted(make):
    """The losses of tf-keras' `fit` in a v1 graph, and what is left of the optimizer."""
    with tf.Graph().as_default():
        inputs = tf_keras.layers.Input([3])
        dense = tf_keras.layers.Dense(1, kernel_initializer="ones")
        model = tf_keras.Model(inputs, dense(inputs))
        optimizer = make()
        model.compile(optimizer, "mse")
        x = np.linspace(0, 1, 24, dtype="float32").reshape([8, 3])
        losses = model.fit(x, x[:, :1], batch_size=4, epochs=3, verbose=0, shuffle=False)
        steps = tf_keras.backend.get_value(optimizer.iterations)
        rate = tf_keras.backend.get_value(optimizer.learning_rate)
        return losses.history["loss"], steps, rate


MAKERS = {
    **{name: lambda base, name=name: getattr(base, name)(0.05) for name in EIGHT},
    "schedule": lambda base: base.SGD(tf_keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)),
    "third party": lambda base: third_party.decoupled_adam(base)(0.05, decay=0.1),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_fit_in_a_v1_graph_initializes_the_optimizer(make):
    if make is MAKERS["schedule"]:
        (ours, *_), (theirs, *_) = (fitted_losses(make, base) for base in (OURS, V2))
    else:
        ours, steps, rate = fitted(lambda: make(OURS))
        theirs, *_ = fitted(lambda: make(V2))
        assert steps == 6
        np.testing.assert_allclose(rate, 0.05)
    np.testing.assert_allclose(ours, theirs, 1e-4)


def fitted_losses(make, base):
    class Plain:  # the value of a schedule is nothing that a session can fetch
        pass

    with tf.Graph().as_default():
        model = tf_keras.Sequential([tf_keras.layers.Dense(1, kernel_initializer="ones")])
        model.compile(make(base), "mse")
        x = np.linspace(0, 1, 24, dtype="float32").reshape([8, 3])
        history = model.fit(x, x[:, :1], batch_size=4, epochs=3, verbose=0, shuffle=False)
        return history.history["loss"], Plain


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RMSprop"])
def test_so_does_fit_with_an_optimizer_of_tfopt(name):
    losses, steps, rate = fitted(lambda: getattr(tfopt, name)(0.05, use_ema=True))
    assert losses[2] < losses[0] and steps == 6
    np.testing.assert_allclose(rate, 0.05)


# --- hyperparameters ------------------------------------------------------------------------------


@each_base
def test_a_hyperparameter_may_be_a_bool(legacy):
    class Signed(legacy.Optimizer):
        def __init__(self, negative, name="Signed", **kwargs):
            super().__init__(name, **kwargs)
            self._set_hyper("learning_rate", 0.5)
            self._set_hyper("negative", negative)

        def _resource_apply_dense(self, grad, var, apply_state=None):
            sign = 1 - 2 * self._get_hyper("negative", var.dtype)
            return var.assign_sub(sign * self._get_hyper("learning_rate", var.dtype) * grad)

        def get_config(self):
            negative = self._serialize_hyperparameter("negative")
            return {**super().get_config(), "negative": negative}

    for negative in (True, False, np.bool_(True)):
        optimizer, x = Signed(negative), tf.Variable([0.0])
        assert bool(optimizer.get_config()["negative"]) == bool(negative)
        optimizer.apply_gradients([(tf.ones([1]), x)])
        assert x.numpy() == [0.5 if negative else -0.5]
        assert bool(optimizer.get_config()["negative"]) == bool(negative)
        optimizer.negative = not negative
        optimizer.apply_gradients([(tf.ones([1]), x)])
        assert x.numpy() == [0.0]


@pytest.mark.parametrize("name", EIGHT)
def test_decay_may_be_a_function(name):
    values = []
    for decay in (0.25, lambda: 0.25, lambda: tf.constant(0.25)):
        optimizer, x = getattr(OURS, name)(0.5, decay=decay), tf.Variable([1.0])
        for _ in range(3):
            optimizer.apply_gradients([(tf.ones([1]), x)])
        values.append(x.numpy())
        assert optimizer.get_config()["decay"] == 0.25
    np.testing.assert_array_equal(values[0], values[1])
    np.testing.assert_array_equal(values[0], values[2])


@each_base
def test_a_nested_optimizer_in_a_config_is_of_its_own_base(legacy):
    class Wrapper(legacy.Optimizer):
        def __init__(self, inner, name="Wrapper", **kwargs):
            super().__init__(name, **kwargs)
            self._inner = tf_keras.optimizers.get(inner)

        def get_config(self):
            inner = tf_keras.optimizers.serialize(self._inner)
            return {**super().get_config(), "inner": inner}

        @classmethod
        def from_config(cls, config, custom_objects=None):
            inner = tf_keras.optimizers.deserialize(config.pop("inner"), custom_objects)
            return cls(inner, **config)

    twin = Wrapper.from_config(Wrapper(legacy.Adam(0.25)).get_config())
    assert type(twin._inner) is legacy.Adam
    assert float(twin._inner.learning_rate) == 0.25


# --- variables ------------------------------------------------------------------------------------

COMPLEX = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.5}),
    ("SGD", {"momentum": 0.5, "nesterov": True}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.5}),
    ("RMSprop", {"centered": True}),
    ("Adam", {}),
    ("Adadelta", {}),
    ("Adagrad", {}),
    ("Nadam", {}),
]


@pytest.mark.parametrize("by_rows", [False, True], ids=["dense", "rows"])
@pytest.mark.parametrize(("name", "arguments"), COMPLEX)
def test_complex_variables_are_updated_as_in_optimizer_v2(name, arguments, by_rows):
    """Adamax, Ftrl and AMSGrad compare numbers: OptimizerV2 has none of them for these."""
    values = []
    for base in (OURS, V2):
        optimizer, x = getattr(base, name)(0.1, **arguments), tf.Variable([[1 + 1j], [2.0]])
        for step in range(4):
            gradient = tf.constant([[0.5 - 1j + step]], x.dtype)
            dense = tf.concat([gradient, gradient / 2], 0)
            rows = tf.IndexedSlices(gradient, tf.constant([0]), tf.constant([2, 1]))
            optimizer.apply_gradients([(rows if by_rows else dense, x)])
        values.append(x.numpy())
    np.testing.assert_allclose(*values, rtol=1e-5)


# --- what wrappers ask ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", EIGHT)
def test_an_optimizer_is_one_of_optimizer_v2_s(name):
    """Wrappers ask before they take it, and tf-keras before it wraps it in its loss scale."""
    optimizer = getattr(OURS, name)(0.25)
    assert isinstance(optimizer, V2.Optimizer) and isinstance(optimizer, OURS.Optimizer)
    assert not isinstance(getattr(tfopt, name)(), V2.Optimizer)
    assert tf_keras.optimizers.get(optimizer) is optimizer
    scaled = tf_keras.mixed_precision.LossScaleOptimizer(optimizer)
    assert isinstance(scaled, V2.Optimizer)
    x = tf.Variable([1.0])
    for _ in range(2):
        scaled.apply_gradients([(scaled.loss_scale * tf.ones([1]), x)])
    assert int(optimizer.iterations) == 2


def test_nothing_of_optimizer_v2_shows_through():
    theirs = {name for name in vars(V2.Optimizer) if not name.startswith("__")}
    for name in theirs:
        found = next(cls for cls in OURS.Optimizer.__mro__ if name in vars(cls))
        assert found is not V2.Optimizer, name
    own = next(cls for cls in OURS.Optimizer.__mro__ if "__getattribute__" in vars(cls))
    assert own is OURS.Optimizer
