"""The problem that optimizers are compared on by default: scikit-learn's handwritten digits."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


def digits(optimizer: Any) -> tuple[Any, Any, Any]:
    """The default problem: scikit-learn's 1,797 handwritten digits, and a small network.

    Args:
        optimizer: what to compile the network with.

    Returns:
        The compiled model, the data to fit, and the data to test on.

    Raises:
        ImportError: without scikit-learn.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "The default problem needs scikit-learn (pip install scikit-learn); or name one of "
            "your own by `--problem module:function`."
        ) from error
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:1440], order[1440:]
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(128, activation="relu"),
            layers.Dense(128, activation="relu"),
            layers.Dense(10),
        ]
    )
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    return model, (x[train], y[train]), (x[test], y[test])
