"""Optimizers written as text for the command line: `sgd,learning_rate=0.1,momentum=0.9`."""

from __future__ import annotations

import ast
from typing import Any

import keras

from tfopt import registry

_GETTERS = {"": registry.get, "tfopt": registry.get, "keras": keras.optimizers.get}  # by library


def optimizer(text: str) -> Any:
    """The optimizer that a text of the command line stands for.

    Args:
        text: a name of tfopt's, or `keras.` and a name of Keras 3's, and arguments:
            `sgd,learning_rate=0.1,momentum=0.9`.

    Raises:
        ValueError: if the text names no optimizer, or an argument that the optimizer does not
            take.

    >>> tfopt.compare.optimizer("sgd,momentum=0.9")
    tfopt.SGD(name='SGD', learning_rate=0.01, momentum=0.9, nesterov=False)
    """
    name, *arguments = text.split(",")
    config = {}
    for argument in arguments:
        key, _, value = argument.partition("=")
        try:
            config[key] = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            raise ValueError(
                "`optimizers` must be like sgd,learning_rate=0.1 with numbers, True, False, None "
                f"or quoted text as arguments; got {argument!r} in {text!r}."
            ) from None
    library, _, name_in_library = name.rpartition(".")
    try:
        if library not in _GETTERS:
            raise ValueError("its library is neither tfopt nor keras.")
        return type(_GETTERS[library](name_in_library)).from_config(config)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`optimizers` must name optimizers; got {text!r}: {error}") from error
