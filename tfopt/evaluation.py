"""Evaluate a model with averages of its weights: a callback, and batch normalization."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import keras

from tfopt._libraries.keras import tf_keras
from tfopt._policies.evaluation_weights import has_evaluation_weights

__all__ = ["EvaluationWeights", "update_batch_norm"]

_BASES: tuple[type, ...] = (keras.callbacks.Callback,)
if tf_keras is not None:
    _BASES += (tf_keras.callbacks.Callback,)
_LIBRARIES = [library for library in (keras, tf_keras) if library is not None]


class EvaluationWeights(*_BASES):  # type: ignore[misc]
    """A callback that evaluates with the evaluation weights of the model's optimizer.

    The model has these weights in `evaluate`, in `predict` and in the validation of `fit`. Then the
    training weights are put back. Callbacks that run after an epoch, such as `ModelCheckpoint`,
    see the training weights, so that training can resume from their files. If an evaluation is
    interrupted by an exception, the training weights are put back when the callback is next used,
    or by `restore`.

    It works in Keras 3 and tf-keras.

    Raises:
        ValueError: in `fit`, `evaluate` or `predict`, if the model has no optimizer of tfopt that
            has evaluation weights, such as one with `use_ema`.

    >>> import numpy as np, keras
    >>> model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile(tfopt.Adam(0.1, use_ema=True), loss="mse")
    >>> x, y = np.ones((8, 2)), np.ones((8, 1))
    >>> callback = tfopt.evaluation.EvaluationWeights()
    >>> _ = model.fit(x, y, validation_data=(x, y), callbacks=[callback], verbose=0)
    """

    def __init__(self) -> None:
        super().__init__()
        self._inside: contextlib.ExitStack | None = None

    def restore(self) -> None:
        """Puts the training weights back, if an evaluation was interrupted."""
        if self._inside is not None:
            inside, self._inside = self._inside, None
            inside.close()

    def _enter(self) -> None:
        self.restore()
        optimizer: Any = getattr(self.model, "optimizer", None)
        if not hasattr(optimizer, "_engine"):  # a loss-scale wrapper of Keras'
            optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        engine = getattr(optimizer, "_engine", None)
        if engine is None or not has_evaluation_weights(engine):
            raise ValueError(
                "`EvaluationWeights` needs a model with an optimizer of tfopt that has evaluation "
                f"weights, such as one with `use_ema`; got {optimizer!r}."
            )
        if not engine.state.is_evaluated and engine.state.built:
            self._inside = contextlib.ExitStack()
            self._inside.enter_context(optimizer.evaluation_weights())

    def on_train_begin(self, logs: Any = None) -> None:
        """Puts the training weights back, if an evaluation was interrupted."""
        self.restore()

    def on_test_begin(self, logs: Any = None) -> None:
        """Gives the model its evaluation weights."""
        self._enter()

    def on_test_end(self, logs: Any = None) -> None:
        """Puts the training weights back."""
        self.restore()

    def on_predict_begin(self, logs: Any = None) -> None:
        """Gives the model its evaluation weights."""
        self._enter()

    def on_predict_end(self, logs: Any = None) -> None:
        """Puts the training weights back."""
        self.restore()


def update_batch_norm(model: Any, batches: Iterable[Any]) -> None:
    """Computes the statistics of batch normalization anew, for evaluation weights.

    The moving means and variances of `BatchNormalization` belong to the training weights. Averages
    of the weights need statistics of their own. This function computes them as means over batches.
    Call it inside of `optimizer.evaluation_weights()`, or after `finalize_variable_values`. It
    overwrites the moving statistics, which do not come back at the end of `evaluation_weights`.

    Args:
        model: a model of Keras 3 or tf-keras.
        batches: inputs of the model, batch by batch. If a batch is a tuple, as in `fit`, its first
            element holds the inputs. Several inputs are a list.

    Raises:
        ValueError: if there are no batches.

    >>> import keras
    >>> model = keras.Sequential([keras.layers.Input((1,)), keras.layers.BatchNormalization()])
    >>> tfopt.evaluation.update_batch_norm(model, [tf.constant([[1.0], [3.0]])])
    >>> model.layers[0].moving_mean.numpy()
    array([2.], dtype=float32)
    """
    layers = list(_batch_norm_layers(model))
    before = [layer.momentum for layer in layers]
    number = 0
    try:
        for number, batch in enumerate(batches, start=1):
            for layer in layers:
                layer.momentum = 1 - 1 / number  # so that all batches count alike
            model(batch[0] if isinstance(batch, tuple) else batch, training=True)
    finally:
        for layer, momentum in zip(layers, before, strict=True):
            layer.momentum = momentum
    if not number:
        raise ValueError("`batches` must have a batch at least; got none.")


def _batch_norm_layers(model: Any) -> Iterator[Any]:
    kinds = tuple(library.layers.BatchNormalization for library in _LIBRARIES)
    flatten = getattr(model, "_flatten_layers", None)
    for layer in flatten() if flatten is not None else model.layers:
        if isinstance(layer, kinds):
            yield layer
