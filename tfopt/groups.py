"""Helpers for the keyword `groups`, by which parts of a model get numbers of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras

from tfopt._engine.members import as_entries, biases_and_norms
from tfopt._libraries import tf_variables
from tfopt._libraries.keras import tf_keras
from tfopt._libraries.serialization import number

__all__ = ["biases_and_norms", "layerwise"]
MODELS = (keras.Model,) if tf_keras is None else (keras.Model, tf_keras.Model)


def layerwise(
    model: Any, decay: float, *, layers: Sequence[Any] | None = None
) -> dict[tuple[Any, ...], dict[str, float]]:
    r"""Returns groups for discriminative fine-tuning: deeper layers learn more slowly.

    The learning rate of the last layer is the optimizer's own. For the layer that is $n$ places
    before the last one it is multiplied by $decay^n$.

    Args:
        model: a model of Keras 3 or tf-keras that has its variables.
        decay: the factor from one layer to the one before it: above 0, at most 1.
        layers: the layers from input to output. An entry is a layer, a pattern, a function, or a
            list of these with one factor for all. By default these are all layers that have
            variables, in the order of `model.layers`, with the layers of nested models in their
            place.

    Returns:
        A mapping for the keyword `groups`, which may be one of several.

    Raises:
        ValueError: if `decay` is out of range, or there are no layers with variables.

    >>> model = tf.keras.Sequential([tf.keras.layers.Dense(4) for _ in range(3)])
    >>> model.build((None, 4))
    >>> opt = tfopt.AdamW(1e-3, groups=tfopt.groups.layerwise(model, 0.5))
    >>> [float(group["learning_rate_factor"]) for group in opt.groups]
    [0.25, 0.5]

    Source: [Howard and Ruder, 2018](https://arxiv.org/abs/1801.06146)
    """
    decay = number("decay", decay, above=0)
    if decay > 1:
        raise ValueError(f"`decay` must be at most 1; got {decay!r}.")
    found = list(_layers(model)) if layers is None else list(layers)
    if not found:
        raise ValueError(
            f"`model` must have layers with variables; got {model!r}. If it has none yet, call it "
            "or its `build` first."
        )
    last = len(found) - 1
    factors = {tuple(as_entries(layer)): decay ** (last - n) for n, layer in enumerate(found)}
    return {
        layer: {"learning_rate_factor": factor} for layer, factor in factors.items() if factor != 1
    }


def _layers(model: Any) -> Iterator[Any]:
    """Yields the layers that have variables, once each; a model among them stands for its own."""
    known: dict[int, Any] = {}
    for layer in model.layers:
        for each in _layers(layer) if isinstance(layer, MODELS) else [layer]:
            if each.weights and id(each) not in known:
                known[id(each)] = each
                yield each
    inside = {id(variable) for layer in known.values() for variable in layer.weights}
    own = [v for v in model.trainable_variables if id(v) not in inside]
    if own:
        raise ValueError(
            "`model` must have all its variables in its layers, or `layers` must be given; "
            f"got {model!r} with {', '.join(map(tf_variables.variable_path, own))} of its own."
        )
