"""Groups in `fit`, and in the files of Keras 3 and tf-keras, also where names have shifted."""

import files_matrix
import numpy as np
import pytest
import tensorflow as tf
from models import X, Y
from training import assert_same, values_of

import tfopt

each_library = pytest.mark.parametrize("library", list(files_matrix.LIBRARIES))
each_kind = pytest.mark.parametrize("kind", files_matrix.KINDS)


def layers_of(model):
    return getattr(model, "hidden", model.layers)


def grouped(model, rate):
    """The first layer has a rate, the second a factor, and no bias decays."""
    first, second, *_ = [layer for layer in layers_of(model) if layer.weights]
    return tfopt.AdamW(
        0.05,
        weight_decay=0.125,
        exclude_from_weight_decay=tfopt.groups.biases_and_norms,
        groups={first: {"learning_rate": rate}, second: {"learning_rate_factor": 0.5}},
    )


def fit(model, epochs=1):
    return model.fit(X, Y, epochs=epochs, batch_size=8, shuffle=False, verbose=0)


@each_library
def test_fit_trains_each_layer_as_its_optimizer_would(library):
    model, expected = (files_matrix.make(library, "functional") for _ in range(2))
    expected.set_weights(model.get_weights())
    files_matrix.compiled(library, model, grouped(model, 0.125))
    fit(model)
    rates = [0.125, 0.125, 0.025, 0.025, 0.05, 0.05]
    decays = [0.125, None] * 3
    optimizers = [tfopt.AdamW(r, weight_decay=d) for r, d in zip(rates, decays, strict=True)]
    loss = files_matrix.LIBRARIES[library].losses.SparseCategoricalCrossentropy(from_logits=True)
    for start in range(0, len(X), 8):
        x, y = X[start : start + 8], Y[start : start + 8]
        with tf.GradientTape() as tape:
            value = loss(y, expected(x))
        variables = expected.trainable_variables
        gradients = tape.gradient(value, variables)
        for optimizer, *pair in zip(optimizers, gradients, variables, strict=True):
            optimizer.apply_gradients([pair])
    trained = (values_of(each.trainable_variables) for each in (model, expected))
    assert_same(*trained, 1e-5)


@each_library
@each_kind
@pytest.mark.parametrize("rate", [0.125, 0.0], ids=["on", "off"])
@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_a_model_is_loaded_with_its_groups(library, kind, rate, ending, tmp_path):
    if kind == "subclassed" and ending == ".h5":
        pytest.skip("Keras cannot write one")
    model = files_matrix.make(library, kind)
    files_matrix.compiled(library, model, grouped(model, rate))
    fit(model)
    model.save(tmp_path / f"model{ending}")
    for _ in range(3):  # names shift
        files_matrix.LIBRARIES[library].layers.Dense(1)
    again = files_matrix.LIBRARIES[library].models.load_model(tmp_path / f"model{ending}")
    assert len(again.optimizer.groups) == 2
    for each in (model, again):
        fit(each)
    assert_same(values_of(again.trainable_variables), values_of(model.trainable_variables))
    assert_same(again.optimizer.get_weights(), model.optimizer.get_weights())
    if rate == 0:
        untrained = files_matrix.make(library, kind)
        assert len(untrained.trainable_variables) * 2 - 4 + 1 == len(again.optimizer.get_weights())


@each_library
def test_a_group_is_switched_on_between_two_fits(library):
    model = files_matrix.make(library, "sequential")
    files_matrix.compiled(library, model, grouped(model, 0.0))
    before = values_of(model.trainable_variables)
    fit(model)
    assert_same(values_of(model.trainable_variables)[:2], before[:2])
    with pytest.warns(tfopt.TfoptWarning, match="compile the model again"):
        model.optimizer.groups[0]["learning_rate"] = 0.125
    files_matrix.compiled(library, model, model.optimizer)
    fit(model)
    after = values_of(model.trainable_variables)
    assert not np.array_equal(after[0], before[0])
    assert model.optimizer.iterations.numpy() == 8


@each_library
def test_callbacks_set_the_base_rate(library):
    model = files_matrix.make(library, "sequential")
    files_matrix.compiled(library, model, grouped(model, 0.125))
    callbacks = files_matrix.LIBRARIES[library].callbacks
    schedule = callbacks.LearningRateScheduler(lambda epoch, rate: 0.0)
    before = values_of(model.trainable_variables)
    model.fit(X, Y, callbacks=[schedule], verbose=0)
    after = values_of(model.trainable_variables)
    moved = [not np.array_equal(a, b) for a, b in zip(after, before, strict=True)]
    assert moved == [True, True, False, False, False, False]


def staged(library, frozen_when_saved):
    """A model whose first layer was frozen at first, with a group of that layer."""
    layers = files_matrix.LIBRARIES[library].layers
    stack = [layers.Dense(2, name="base"), layers.Dense(2, name="head")]
    model = files_matrix.LIBRARIES[library].Sequential([layers.Input((6,)), *stack])
    stack[0].trainable = False
    members = [(stack[0], {"learning_rate_factor": 0.0625})]
    files_matrix.compiled(library, model, tfopt.SGD(1.0, groups=members))
    fit(model)
    if not frozen_when_saved:
        files_matrix.unfreeze(library, model)
        fit(model)
    return model


@each_library
@pytest.mark.parametrize("frozen_when_saved", [True, False])
def test_groups_of_a_layer_that_was_frozen_are_found_again(library, frozen_when_saved, tmp_path):
    model = staged(library, frozen_when_saved)
    model.save(tmp_path / "model.keras")
    again = files_matrix.LIBRARIES[library].models.load_model(tmp_path / "model.keras")
    for each in (model, again):
        files_matrix.unfreeze(library, each)
        before = values_of(each.trainable_variables)
        ones = [(tf.ones_like(v), v) for v in each.trainable_variables]
        each.optimizer.apply_gradients(ones)
        after = values_of(each.trainable_variables)
        moved = [float(np.mean(b - a)) for b, a in zip(before, after, strict=True)]
        np.testing.assert_allclose(moved, [0.0625, 0.0625, 1.0, 1.0], 1e-3)


@each_library
def test_layerwise_finds_all_variables_or_raises(library):
    keras = files_matrix.LIBRARIES[library]

    class Block(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.layers = [keras.layers.Dense(4), keras.layers.Dense(4)]
            self.scale = self.add_weight(shape=(), initializer="ones", name="scale")

        def call(self, inputs):
            for layer in self.layers:
                inputs = layer(inputs)
            return inputs * self.scale

    class Token(keras.Model):
        def __init__(self):
            super().__init__()
            self.token = self.add_weight(shape=(6,), initializer="ones", name="token")
            self.head = keras.layers.Dense(2)

        def call(self, inputs):
            return self.head(inputs + self.token)

    model = keras.Sequential([keras.layers.Input((6,)), Block(), keras.layers.Dense(2)])
    model(X)
    groups = tfopt.groups.layerwise(model, 0.5)
    optimizer = tfopt.SGD(1.0, groups=groups)
    rows = tfopt.inspect.describe(optimizer, model)
    assert [bool(row.numbers) for row in rows] == [True] * 5 + [False] * 2
    token = Token()
    token(X)
    with pytest.raises(ValueError, match="`layers` must be given; got.*token.* of its own"):
        tfopt.groups.layerwise(token, 0.5)


@each_library
def test_a_model_may_be_a_member_before_it_is_built(library):
    keras = files_matrix.LIBRARIES[library]
    body = keras.Sequential([keras.layers.Dense(2)])
    optimizer = tfopt.SGD(1.0, groups=[(body, {"learning_rate": 0.5})])
    with pytest.warns(tfopt.TfoptWarning, match="layers without variables"):
        optimizer.get_config()
    body(X)
    assert tfopt.inspect.describe(optimizer, body)[0].numbers == ("learning_rate = 0.5",)
