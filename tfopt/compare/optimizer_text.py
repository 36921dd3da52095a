"""Optimizers written as text for the command line: `sgd,learning_rate=0.1,momentum=0.9`."""

from __future__ import annotations

from typing import Any

import keras

from tfopt import registry
from tfopt_command.optimizer_text import parse

_GETTERS = {"": registry.get, "tfopt": registry.get, "keras": keras.optimizers.get}  # by library


def optimizer(text: str) -> Any:
    """Returns the optimizer that a text of the command line stands for.

    Args:
        text: a name in tfopt, or `keras.` and a name in Keras 3, and arguments:
            `sgd,learning_rate=0.1,momentum=0.9`.

    Raises:
        ValueError: if the text names no optimizer, or an argument that the optimizer does not
            take.

    >>> tfopt.compare.optimizer("sgd,momentum=0.9")
    tfopt.SGD(name='SGD', learning_rate=0.01, momentum=0.9, nesterov=False)
    """
    name, arguments = parse(text)
    library, _, name_in_library = name.rpartition(".")
    try:
        if library not in _GETTERS:
            raise ValueError("its library is neither tfopt nor keras.")
        return type(_GETTERS[library](name_in_library)).from_config(arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`optimizers` must name optimizers; got {text!r}: {error}") from error
