"""Either Keras compiles, fits, saves and loads optimizers on the base of tfopt.legacy."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import third_party
from either_base import FIXTURES, OURS, V2, batches, each_fixture, each_of_eight, embedding_model
from models import each_library
from training import assert_same, values_of


@each_library
@each_fixture
def test_fit_gives_what_a_loop_gives_on_optimizer_v2(make, library):
    inputs, targets = batches()
    model, reference = embedding_model(library), embedding_model(library)
    ours, theirs = make(OURS), make(V2)
    ours.clipnorm = theirs.clipnorm = None
    model.compile(ours, loss=library.losses.MeanSquaredError())
    model.fit(inputs, targets, batch_size=8, epochs=2, shuffle=False, verbose=0)
    variables = [getattr(v, "value", v) for v in reference.trainable_variables]
    if library is tf_keras:
        variables = reference.trainable_variables
    for start in [*range(0, 32, 8)] * 2:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(
                (reference(inputs[start : start + 8]) - targets[start : start + 8]) ** 2
            )
        theirs.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
    assert model.optimizer is ours
    assert_same(values_of(model.trainable_variables, ours), values_of(variables, theirs), 2e-5)


@pytest.mark.timeout(120)
@each_library
def test_fit_in_replicas(library, mirrored):
    if library is keras and keras.__version__.startswith("3.0."):
        pytest.skip("Keras 3.0 sums the replicas' mean losses, with its own optimizers too.")
    inputs, targets = batches()
    weights = []
    for scope in (mirrored.scope, contextlib.nullcontext):
        with scope():
            model = embedding_model(library)
            model.compile(FIXTURES["averaging"](OURS), loss=library.losses.MeanSquaredError())
        model.fit(inputs, targets, batch_size=8, epochs=2, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for mine, expected in zip(*weights, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-5)


@each_library
def test_mixed_precision(library):
    inputs, targets = batches()
    weights = []
    try:
        for policy in ("float32", "mixed_float16"):
            if library is keras:
                keras.config.set_dtype_policy(policy)
            else:
                tf_keras.mixed_precision.set_global_policy(policy)
            model = embedding_model(library)
            optimizer = third_party.averaging(OURS)(OURS.SGD(0.05, momentum=0.5))
            model.compile(optimizer, loss=library.losses.MeanSquaredError())
            model.fit(inputs, targets, batch_size=8, shuffle=False, verbose=0)
            assert len(optimizer.weights) == 1 + 2 * 3
            assert optimizer.iterations.numpy() == 4
            weights.append(model.get_weights())
    finally:
        keras.config.set_dtype_policy("float32")
        tf_keras.mixed_precision.set_global_policy("float32")
    for expected, actual in zip(*weights, strict=True):
        np.testing.assert_allclose(actual, expected, atol=0.02)


@each_library
def test_callbacks_and_h5_files_with_a_wrapper(library, tmp_path):
    inputs, targets = batches()
    model, cls = embedding_model(library), third_party.averaging(OURS)
    optimizer = cls(OURS.Adam(0.05))
    model.compile(optimizer, loss=library.losses.MeanSquaredError())
    callbacks = [
        library.callbacks.TensorBoard(str(tmp_path)),
        library.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5),
    ]
    model.fit(inputs, targets, batch_size=8, verbose=0, callbacks=callbacks)
    np.testing.assert_allclose(float(optimizer.learning_rate), 0.025)
    model.save(tmp_path / "model.h5")
    with library.saving.custom_object_scope({"Averaging": cls}):
        loaded = library.models.load_model(tmp_path / "model.h5")
    weights = []
    for each in (model, loaded):
        each.fit(inputs, targets, batch_size=8, shuffle=False, verbose=0)
        weights.append([*each.get_weights(), *each.optimizer.get_weights()])
    for expected, actual in zip(*weights, strict=True):
        np.testing.assert_array_equal(actual, expected)


@each_library
@pytest.mark.parametrize("name", ["Nadam"])  # slots and a scalar
def test_a_saved_model_goes_on_with_its_optimizer(name, library, tmp_path):
    inputs, targets = batches()
    model = embedding_model(library)
    model.compile(getattr(OURS, name)(0.05), loss=library.losses.MeanSquaredError())
    model.fit(inputs, targets, batch_size=8, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = library.models.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is getattr(OURS, name)
    for m in (model, loaded):
        m.fit(inputs, targets, batch_size=8, shuffle=False, verbose=0)
    for expected, actual in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(actual, expected)
    weights = zip(model.optimizer.get_weights(), loaded.optimizer.get_weights(), strict=True)
    assert all(np.array_equal(expected, actual) for expected, actual in weights)


@each_library
def test_a_saved_model_goes_on_with_a_wrapper_and_what_it_wraps(library, tmp_path):
    inputs, targets = batches()
    model = embedding_model(library)
    cls = third_party.averaging(OURS)
    model.compile(cls(OURS.Adam(0.05)), loss=library.losses.MeanSquaredError())
    model.fit(inputs, targets, batch_size=8, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = library.models.load_model(tmp_path / "model.keras", custom_objects={"Averaging": cls})
    assert type(loaded.optimizer) is cls
    for m in (model, loaded):
        m.fit(inputs, targets, batch_size=8, shuffle=False, verbose=0)
    weights = [m.get_weights() + m.optimizer.get_weights() for m in (model, loaded)]
    assert len(model.optimizer.get_weights()) == 1 + 3 * 3
    for expected, actual in zip(*weights, strict=True):
        np.testing.assert_array_equal(actual, expected)


@each_library
@each_of_eight
def test_either_keras_takes_and_serializes_them(library, name):
    optimizer = getattr(OURS, name)()
    assert library.optimizers.get(optimizer) is optimizer
    again = library.optimizers.deserialize(library.optimizers.serialize(optimizer))
    assert type(again) is getattr(OURS, name)
    assert again.get_config() == optimizer.get_config()
