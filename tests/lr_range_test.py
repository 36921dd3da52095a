"""The learning rate range test: what it finds, and that the model stays as it is."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from models import X, Y, classifier, each_library, linear_data, linear_model

import tfopt
from tfopt.inspect import lr_range

OPTIMIZERS = {
    "ours": lambda library: tfopt.Adam(0.01, use_ema=True),
    "ours, schedule": lambda library: tfopt.SGD(
        tfopt.schedules.Warmup(tfopt.schedules.CosineDecay(0.1, 10), 5), momentum=0.9
    ),
    "theirs": lambda library: library.optimizers.Adam(0.01),
    "theirs, schedule": lambda library: library.optimizers.SGD(
        library.optimizers.schedules.CosineDecay(0.1, 10)
    ),
    "our loss scale": lambda library: tfopt.LossScaleOptimizer(
        tfopt.SGD(tfopt.schedules.CosineDecay(0.1, 10))
    ),
    "several": lambda library: tfopt.MultiOptimizer(
        {"kernel": tfopt.SGD(0.1), "bias": tfopt.Adam()}
    ),
}


def state_of(model, optimizer):
    """All that training changes: weights, and what the optimizer holds."""
    variables = optimizer.variables
    variables = variables() if callable(variables) else variables
    return [*model.get_weights(), *(variable.numpy() for variable in variables)]


@each_library
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_model_stays_as_it_is(library, name):
    optimizer = OPTIMIZERS[name](library)
    model = classifier(library, optimizer=optimizer)
    model.fit(X, Y, epochs=2, verbose=0)
    before, config = state_of(model, optimizer), optimizer.get_config()
    function, layers = model.train_function, list(model.layers)
    found = lr_range(model, (X, Y), start=1e-4, end=100, steps=20, batch_size=8)
    assert found.losses[0] != found.losses[-1]
    after = state_of(model, optimizer)
    assert len(before) == len(after) > 4
    for one, other in zip(before, after, strict=True):
        assert one.tobytes() == other.tobytes()
    assert model.optimizer is optimizer and optimizer.get_config() == config
    assert model.train_function is function and model.layers == layers


def quadratic(library, curvature, optimizer=None):
    """A loss of one weight, curvature / 2 * weight**2, and its data."""
    layer = library.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    model = library.Sequential([library.layers.Input((1,)), layer])
    model.compile(optimizer or tfopt.SGD(), loss="mse")
    x = np.full([1, 1], (curvature / 2) ** 0.5)
    return model, tf.data.Dataset.from_tensors((x, 0 * x))


@each_library
@pytest.mark.parametrize("curvature", [0.5, 10.0, 400.0])
def test_the_suggestion_is_below_the_limit_of_stability(library, curvature):
    model, data = quadratic(library, curvature)
    found = lr_range(model, data, steps=120, end=1000.0)
    limit = 2 / curvature  # beyond this rate, gradient descent diverges
    assert 0.01 * limit < found.suggestion < 0.5 * limit
    assert found.diverged and limit < found.rates[-1] < 20 * limit
    # Gradient descent on paper, from a weight of 1; float32 holds the loss to 7 digits.
    weights = np.cumprod([1.0, *(1 - found.rates[:-1] * curvature)])
    np.testing.assert_allclose(found.losses[:90], curvature / 2 * weights[:90] ** 2, rtol=1e-4)
    np.testing.assert_allclose(found.rates, np.geomspace(1e-7, 1000, 120)[: len(found.rates)])


@each_library
def test_schedules_are_replaced_and_momentum_stays(library):
    results = [
        lr_range(*quadratic(library, 2.0, tfopt.SGD(rate, momentum=momentum)), steps=30)
        for rate, momentum in ((0.1, 0.0), (tfopt.schedules.LinearDecay(0.1, 3), 0.0), (0.1, 0.9))
    ]
    np.testing.assert_array_equal(results[0].losses, results[1].losses)
    assert results[2].losses[25] != results[0].losses[25]


def test_smoothed_losses_are_averages_without_bias():
    model = classifier(keras, optimizer=tfopt.Adam())
    found = lr_range(model, (X, Y), steps=12, batch_size=4, smoothing=0.75, divergence=1e9)
    for number in range(12):
        weights = 0.75 ** np.arange(number, -1, -1)
        average = np.average(found.losses[: number + 1], weights=weights)
        np.testing.assert_allclose(found.smoothed_losses[number], average, rtol=1e-6)


@each_library
def test_all_kinds_of_data(library):
    def run(data, **arguments):
        model, _ = quadratic(library, 2.0)
        return lr_range(model, data, start=1e-3, end=0.1, steps=7, **arguments)

    x = np.ones([4, 1], np.float32)
    batches = tf.data.Dataset.from_tensor_slices((x, 0 * x)).batch(2)
    generator = ((x[:2], 0 * x[:2]) for _ in range(7))
    expected = run((x, 0 * x), batch_size=2).losses
    assert len(expected) == 7
    for data in (batches, batches.repeat(), generator, (x, 0 * x, np.ones([4]))):
        np.testing.assert_allclose(run(data).losses, expected, rtol=1e-6)
    short = ((x, 0 * x) for _ in range(3))
    assert len(run(short).rates) == 3
    halved = run((x, 0 * x, np.full([4], 0.5)))
    np.testing.assert_allclose(halved.losses[0], expected[0] / 2, rtol=1e-6)


@each_library
def test_a_loss_that_is_not_finite_ends_it(library):
    model, _ = quadratic(library, 2.0)
    found = lr_range(model, (np.full([8, 1], np.nan), np.ones([8, 1])), steps=20)
    assert found.diverged and found.suggestion is None and len(found.rates) == 1
    assert len(found.plot().lines) == 2


def test_a_loss_that_never_falls_has_no_suggestion():
    model, _ = quadratic(keras, 2.0)
    found = lr_range(model, (np.zeros([8, 1]), np.zeros([8, 1])), steps=20)
    assert not found.diverged and found.suggestion is None and len(found.rates) == 20


def test_negative_losses_may_fall():
    model = linear_model(keras)
    model.compile(tfopt.SGD(), loss=lambda y, prediction: tf.reduce_mean(prediction))
    found = lr_range(model, linear_data(), steps=30, end=1.0)
    assert not found.diverged and found.losses[-1] < -1 and found.suggestion > 1e-3


@each_library
def test_models_without_an_input_layer_and_of_several_outputs(library):
    model = library.Sequential([library.layers.Dense(2)])  # it knows its shapes after a batch
    model.compile(tfopt.SGD(), loss="mse")
    assert len(lr_range(model, (X, X[:, :2]), steps=4).losses) == 4
    assert not model.built
    model.fit(X, X[:, :2], verbose=0)
    loss = model.evaluate(X, X[:, :2], verbose=0)
    first = lr_range(model, (X, X[:, :2]), steps=4, batch_size=32).losses[0]
    np.testing.assert_allclose(first, loss, rtol=1e-5)

    inputs = library.layers.Input((6,))
    outputs = [library.layers.Dense(1, name=name)(inputs) for name in "ab"]
    model = library.Model(inputs, outputs)
    model.compile(tfopt.SGD(), loss=["mse", "mae"], loss_weights=[0.5, 3.0])
    targets = [X[:, :1], X[:, 1:2]]
    loss = model.evaluate(X, targets, verbose=0)[0]
    first = lr_range(model, (X, targets), steps=4, batch_size=32).losses[0]
    np.testing.assert_allclose(first, loss, rtol=1e-5)


def subclassed(library, with_config):
    class Model(library.Model):
        def __init__(self, units):
            super().__init__()
            self.units, self.dense = units, library.layers.Dense(units)

        def call(self, x):
            return self.dense(x)

        def get_config(self):
            if not with_config:
                raise NotImplementedError("no config.")
            return {"units": self.units}

        @classmethod
        def from_config(cls, config):
            return cls(**config)

    model = Model(2)
    model.compile(tfopt.SGD(), loss="mse")
    model.fit(X, X[:, :2], verbose=0)
    return model


@each_library
def test_subclassed_models(library):
    model = subclassed(library, with_config=True)
    loss = model.evaluate(X, X[:, :2], verbose=0)
    first = lr_range(model, (X, X[:, :2]), steps=4, batch_size=32).losses[0]
    np.testing.assert_allclose(first, loss, rtol=1e-5)
    with pytest.raises(ValueError, match="`model` must be one that Keras can copy"):
        lr_range(subclassed(library, with_config=False), (X, X[:, :2]), steps=4)


@each_library
def test_the_loss_scale_of_mixed_precision(library):
    optimizers = library.optimizers if library is keras else library.mixed_precision
    wrapper = optimizers.LossScaleOptimizer(tfopt.SGD(tfopt.schedules.LinearDecay(0.1, 3)))
    plain = lr_range(*quadratic(library, 2.0), steps=20)
    scaled = lr_range(*quadratic(library, 2.0, wrapper), steps=20)
    np.testing.assert_allclose(scaled.losses[:15], plain.losses[:15], rtol=1e-5)


def test_under_a_strategy(mirrored):
    with mirrored.scope():
        model, data = quadratic(keras, 2.0)
    before = model.get_weights()
    data = data.unbatch().repeat(2).batch(2)  # one row for each replica
    found = lr_range(model, data, start=0.01, steps=10)
    plain = lr_range(*quadratic(keras, 2.0), start=0.01, steps=10)
    np.testing.assert_allclose(found.losses, plain.losses, rtol=1e-4)
    np.testing.assert_array_equal(model.get_weights(), before)


def test_it_is_drawn(monkeypatch):
    found = lr_range(*quadratic(keras, 2.0))
    axes = found.plot()
    losses, smoothed, suggestion = axes.lines
    np.testing.assert_array_equal(losses.get_xydata(), np.stack([found.rates, found.losses], 1))
    np.testing.assert_array_equal(smoothed.get_ydata(), found.smoothed_losses)
    assert suggestion.get_xdata() == [found.suggestion] * 2
    assert axes.get_xscale() == "log"
    assert found.plot(axes) is axes
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"needs matplotlib.*: pip install matplotlib"):
        found.plot()


@pytest.mark.parametrize(
    ("argument", "value", "rule"),
    [
        ("start", 0.0, "> 0"),
        ("end", 1e-8, "> `start`"),
        ("end", float("inf"), "finite"),
        ("steps", 1, "integer >= 2"),
        ("steps", 10.0, "integer >= 2"),
        ("smoothing", 1.0, "< 1"),
        ("smoothing", -0.1, ">= 0"),
        ("divergence", 1.0, "> 1"),
    ],
)
def test_refuses_bad_arguments(argument, value, rule):
    model, data = quadratic(keras, 2.0)
    with pytest.raises(ValueError) as error:
        lr_range(model, data, **{argument: value})
    assert f"`{argument}`" in str(error.value) and rule in str(error.value)
    assert repr(value) in str(error.value)


@each_library
def test_refuses_what_it_cannot_train(library):
    with pytest.raises(ValueError, match="`model` must be compiled with an optimizer"):
        lr_range(linear_model(library), linear_data())
    model, data = quadratic(library, 2.0)
    with pytest.raises(ValueError, match="`data` must be .* got 4 elements"):
        lr_range(model, (X, Y, Y, Y))
    model.compile(OwnRate(library), loss="mse")
    with pytest.raises(ValueError, match="`model` must have an optimizer with a `learning_rate`"):
        lr_range(model, data)


def OwnRate(library):  # noqa: N802 a class of either library
    class OwnRate(library.optimizers.SGD):
        def get_config(self):
            return {}

    return OwnRate()


def test_refuses_what_is_no_model():
    with pytest.raises(TypeError, match="`model` must be a model of Keras 3 or tf-keras; got None"):
        lr_range(None, linear_data())
