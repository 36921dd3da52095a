"""What is said of (gradient, variable) pairs that are none, with the line to write instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfopt._engine.members import is_variable
from tfopt._libraries import tf_variables
from tfopt._libraries.messages import called, kind_of, shown

WRITE = "Write `apply_gradients(zip(gradients, variables))`"


def no_list(given: Any) -> TypeError:
    """Returns the error for what is no list at all."""
    return TypeError(
        f"`grads_and_vars` must list (gradient, variable) pairs; got {shown(given)}. {WRITE}."
    )


def no_name(given: Any) -> TypeError:
    """Returns the error for a list of variables in the place of a name."""
    two_lists = isinstance(given, list | tuple) and any(map(is_variable, given))
    hint = f" {WRITE}, or `apply(gradients, variables)`." if two_lists else ""
    return TypeError(f"`name` must be a string or None; got {shown(given)}.{hint}")


def as_tuple(entry: Any) -> tuple[Any, ...]:
    """Returns an entry as a tuple; an empty one for what cannot be a pair."""
    if isinstance(entry, str | Mapping) or is_variable(entry) or _is_gradient(entry):
        return ()
    try:
        return tuple(entry)
    except TypeError:
        return ()


def malformed(entries: Sequence[Any], position: int) -> TypeError:
    """Returns the error for an entry that is no pair of a gradient and a variable.

    Args:
        entries: what the user passed, as a list.
        position: where the wrong entry is.
    """
    entry = entries[position]
    rule = "`grads_and_vars` must hold (gradient, variable) pairs"
    if _are_two_lists(entries):
        return TypeError(f"{rule}; got a list of gradients and a list of variables. {WRITE}.")
    if _is_gradient(entry):
        return TypeError(
            f"{rule}; got gradients without variables: at index {position} is {kind_of(entry)}. "
            f"{WRITE}."
        )
    if is_variable(entry):
        return TypeError(
            f"{rule}; got variables without gradients: at index {position} is {kind_of(entry)}. "
            f"{WRITE}."
        )
    pair = as_tuple(entry)
    if len(pair) != 2:
        return TypeError(f"{rule}; at index {position} is {shown(entry)}. {WRITE}.")
    first, second = pair
    if isinstance(second, tf_variables.ShardedVariable):
        return TypeError(
            f"`grads_and_vars` must have one shard of a sharded variable in each pair; got "
            f"{shown(second)} as a whole. Use its `variables`."
        )
    if is_variable(first):
        return TypeError(
            f"{rule}; the pair at index {position} is swapped: it has the variable "
            f"`{called(first, position)}` first, and {kind_of(second)} second. {WRITE}."
        )
    return TypeError(
        f"`grads_and_vars` must hold a variable second in each pair; the pair at index {position} "
        f"has {kind_of(second)}. An optimizer changes variables only: create it by `tf.Variable`."
    )


def _are_two_lists(entries: Sequence[Any]) -> bool:
    if len(entries) != 2 or not all(isinstance(entry, list | tuple) for entry in entries):
        return False
    gradients, variables = entries
    return (
        len(gradients) == len(variables)
        and bool(variables)
        and all(map(is_variable, variables))
        and not any(map(is_variable, gradients))
    )


def _is_gradient(entry: Any) -> bool:
    is_tensor = tf.is_tensor(entry) or hasattr(entry, "dtype")
    return entry is None or (is_tensor and not is_variable(entry))
