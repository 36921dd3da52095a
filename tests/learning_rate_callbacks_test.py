"""Callbacks of Keras 3 and tf-keras that set the learning rate, over a number and a schedule."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tfopt

LIBRARIES = {"keras": keras, "tf_keras": tf_keras}
each_library = pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
DATA = np.ones([8, 3], np.float32), np.zeros([8, 1], np.float32)
MAKERS = {
    "tfopt": tfopt.SGD,
    "tfopt.legacy": tfopt.legacy.SGD,
    "scaled": lambda rate: tfopt.LossScaleOptimizer(tfopt.SGD(rate)),
}
RATES = {
    "number": lambda: 0.1,
    "schedule of tfopt": lambda: tfopt.schedules.InverseTimeDecay(0.1, 1, 0.0),
    "schedule of Keras 3": lambda: keras.optimizers.schedules.ExponentialDecay(0.1, 1, 1.0),
    "schedule of tf-keras": lambda: tf_keras.optimizers.schedules.ExponentialDecay(0.1, 1, 1.0),
    "function": lambda: lambda: 0.1,
}


def callbacks_of(library):
    plateau = library.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=1e9)
    return {
        "by epoch": (library.callbacks.LearningRateScheduler(lambda epoch: 0.5**epoch), 0.25),
        "by rate": (library.callbacks.LearningRateScheduler(lambda _, rate: rate * 0.5), 0.0125),
        "plateau": (plateau, 0.025),
    }


@each_library
@pytest.mark.parametrize(
    ("make", "rate", "which"),
    [
        *((make, rate, "by rate") for make in MAKERS for rate in RATES),
        *((next(iter(MAKERS)), "schedule of tfopt", which) for which in ("by epoch", "plateau")),
    ],
)
def test_a_callback_sets_the_rate_from_then_on(library, make, rate, which):
    optimizer = MAKERS[make](RATES[rate]())
    model = library.Sequential([library.layers.Dense(1, use_bias=False)])
    model.compile(
        optimizer=optimizer,
        loss=lambda y, x: library.backend.sum(x) if library is tf_keras else keras.ops.sum(x),
    )
    model.fit(*DATA, batch_size=8, verbose=0)  # traced with what it had
    callback, expected = callbacks_of(library)[which]
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        model.fit(*DATA, batch_size=8, epochs=3, verbose=0, callbacks=[callback])
    ours = [str(w.message) for w in given if issubclass(w.category, tfopt.TfoptWarning)]
    assert len(ours) == (rate != "number")  # once, though the callback sets it three times
    assert all(
        "A callback has set `learning_rate` to" in text and "schedule or function" in text
        for text in ours
    )
    np.testing.assert_allclose(optimizer.learning_rate, expected, rtol=1e-6)
    before = model.get_weights()[0]
    model.fit(*DATA, batch_size=8, verbose=0)
    np.testing.assert_allclose(model.get_weights()[0] - before, -8 * expected, rtol=1e-4)


def test_an_assignment_of_your_own_over_a_schedule_warns_of_nothing():
    optimizer = tfopt.SGD(tfopt.schedules.CosineDecay(0.1, 10))
    optimizer.learning_rate = 0.5
    optimizer.learning_rate = tfopt.schedules.CosineDecay(0.2, 10)
    optimizer.learning_rate = 0.3
    np.testing.assert_allclose(optimizer.learning_rate, 0.3, rtol=1e-6)


@each_library
@pytest.mark.parametrize("name", ["tfopt>Adam", "tfopt>adam", "tfopt>ADAM"])
def test_a_string_names_our_optimizer_in_any_case(library, name):
    assert type(library.optimizers.get(name)) is tfopt.Adam
    model = library.Sequential([library.layers.Dense(1)])
    model.compile(optimizer=name, loss="mse")
    model.fit(*DATA, verbose=0)
    assert type(model.optimizer) is tfopt.Adam


@each_library
def test_a_string_without_the_package_stays_that_of_keras(library):
    assert type(library.optimizers.get("adam")) is library.optimizers.Adam


def test_lamb_has_the_name_that_keras_gives_it():
    assert tfopt.Lamb is tfopt.LAMB is tfopt.optimizers.Lamb
    assert type(tfopt.get("Lamb")) is tfopt.Lamb


def test_the_rate_is_a_variable_of_tensorflow():
    """`.value` is a method there, and in tf-keras; in Keras 3 it is a property."""
    optimizer = tfopt.SGD(0.5)
    assert isinstance(optimizer.learning_rate, tf.Variable)
    assert float(optimizer.learning_rate) == float(optimizer.learning_rate.value()) == 0.5
