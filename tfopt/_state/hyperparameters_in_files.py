"""What files say of hyperparameters, compared with those that an optimizer was just given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt._libraries import tensorflow_private, tf_variables
from tfopt._libraries.serialization import as_json
from tfopt._libraries.warnings import warn
from tfopt._state.hyperparameters import Hypers


def schedules(hypers: Hypers) -> dict[str, Any]:
    """Returns the configs of those that are schedules, as JSON has them, by name.

    It is None for a callable without a config, which cannot be compared with another.
    """
    return {
        name: as_json(value.config()) if hasattr(value.source, "get_config") else None
        for name, value in hypers.items()
        if callable(value.source) and not isinstance(value.source, tf.Variable)
    }


def differences(
    hypers: Hypers, numbers: Mapping[str, np.ndarray], schedules: Mapping[str, Any]
) -> list[str]:
    """Names the hyperparameters that are numbers here, and differ in a file.

    Args:
        hypers: the hyperparameters of an optimizer.
        numbers: those of the file that are numbers, by name.
        schedules: the configs of its schedules, by name.
    """
    found = []
    for name, value in hypers.items():
        if value.source is not None or value.number is None:
            continue
        here = value.config()
        if name in schedules:
            what = (schedules[name] or {}).get("class_name", "a function")
            found.append(f"`{name}` is {here} (in the file: {what})")
        elif name in numbers and np.float32(here) != numbers[name]:
            found.append(f"`{name}` is {here} (in the file: {numbers[name]:.7g})")
    return found


def warn_of_restored(hypers: Hypers, name: str) -> None:
    """Warns where a checkpoint has changed a number that the optimizer was just given.

    Args:
        hypers: the hyperparameters of the optimizer.
        name: its name.
    """
    changed = {
        key: tf_variables.value_of(value.variable, default=value.number)
        for key, value in hypers.items()
        if value.source is None
        and value.variable is not None
        and tensorflow_private.was_restored(value.variable)
    }
    texts = [
        f"`{key}` was {hypers[key].number} and is {now:.7g}"
        for key, now in changed.items()
        if np.float32(hypers[key].number) != now
    ]
    if texts:
        warn(
            f"The checkpoint has changed hyperparameters that `{name}` was given: "
            f"{', '.join(texts)}. Assign them after `restore` to keep yours."
        )
