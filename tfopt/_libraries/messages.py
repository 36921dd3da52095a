"""How values are shown in messages: variables and tensors without their numbers, and all short."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt._libraries import tf_variables


def shown(value: Any) -> str:
    """Returns the `repr` of a value, shortened, with a description of each tensor in it."""
    return _SHOWN.repr(value)


def kind_of(value: Any) -> str:
    """Returns what an article and a noun say of a value: "a float32 tensor of shape (2,)"."""
    text = shown(value)
    return text if text.startswith(("a ", "the ")) else f"{type(value).__name__} {text}"


def called(variable: Any, position: int | None = None) -> str:
    """Returns a variable's path, with its index in the user's list if it has no name."""
    path = tf_variables.variable_path(variable)
    unnamed = path.rstrip("_0123456789").lower() == "variable"
    return f"{path} (index {position})" if unnamed and position is not None else path


class _Shown(reprlib.Repr):
    """The short `repr` of Python's library, which knows of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 200
        self.maxdict = 6

    def repr1(self, x: Any, level: int) -> str:
        original, x = x, tf_variables.unwrap(x)
        if isinstance(x, tf.Variable | tf_variables.ShardedVariable):
            return f"the variable `{tf_variables.variable_path(original)}`"
        if isinstance(x, tf.IndexedSlices):
            return f"a {x.dtype.name} tf.IndexedSlices"
        if tf.is_tensor(x) and hasattr(x, "shape"):
            return f"a {x.dtype.name} tensor of shape {x.shape}"
        if isinstance(x, np.ndarray):
            return f"a {x.dtype} array of shape {x.shape}"
        if isinstance(x, list):  # also the lists of tf.Module
            return self.repr_list(list(x), level)
        if isinstance(x, tuple) and not hasattr(x, "_fields"):
            return self.repr_tuple(tuple(x), level)
        if isinstance(x, Mapping):
            return self.repr_dict(dict(x), level)
        return super().repr1(x, level)


_SHOWN = _Shown()
