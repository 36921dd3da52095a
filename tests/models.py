"""Small models of either Keras, and what they are fitted to."""

import keras
import numpy as np
import pytest
import tf_keras

each_library = pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])

X = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")
Y = (X.sum(axis=1) > 0).astype("int32")
TOKENS = np.random.default_rng(0).integers(0, 20, size=(32, 5))


def linear_model(library, optimizer=None, outputs=1):
    """One layer with 3 inputs; compiled, if there is an optimizer."""
    layer = library.layers.Dense(outputs, name="dense")
    model = library.Sequential([library.layers.Input((3,)), layer])
    if optimizer is not None:
        model.compile(optimizer=optimizer, loss=library.losses.MeanSquaredError())
    return model


def linear_data(count=16):
    """Inputs and targets of `linear_model`."""
    random = np.random.default_rng(0)
    return random.normal(size=(count, 3)), random.normal(size=(count, 1))


def classifier(library, embedding=False, optimizer=None, **compile_arguments):
    """A model of two classes: of `X`, or of `TOKENS` where it has an embedding."""
    layers = library.layers
    start = (
        [
            layers.Input((5,), dtype="int32"),
            layers.Embedding(20, 4),
            layers.GlobalAveragePooling1D(),
        ]
        if embedding
        else [layers.Input((6,)), layers.Dense(8, activation="relu")]
    )
    model = library.Sequential([*start, layers.Dense(2)])
    model.compile(
        optimizer=optimizer,
        loss=library.losses.SparseCategoricalCrossentropy(from_logits=True),
        **compile_arguments,
    )
    return model


def fit(model, x=X, epochs=2, **arguments):
    """Fits a classifier; gives the losses."""
    arguments = {"batch_size": 8, "shuffle": False, "verbose": 0, **arguments}
    return model.fit(x, Y, epochs=epochs, **arguments).history["loss"]
