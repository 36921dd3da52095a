"""Schedules as configs: written for files, and read from those of tfopt, Keras 3 and tf-keras."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from tfopt._libraries.keras import registered
from tfopt._libraries.serialization import describe, recover
from tfopt.schedules.base import BUILT_IN, MODULE, LearningRateSchedule

# A config of one of these modules means a schedule of tfopt. The modules are not imported.
_MODULES = (None, MODULE, "keras.optimizers.schedules", "tf_keras.optimizers.schedules")


def serialize(schedule: LearningRateSchedule) -> dict[str, Any]:
    """Describes a schedule by a dict that JSON can hold.

    Args:
        schedule: an instance of a `LearningRateSchedule`.

    Returns:
        A dict for `deserialize`. Keras can read it too, if the class is registered with Keras.

    Raises:
        ValueError: if `schedule` is no `LearningRateSchedule`.

    >>> serialize(tfopt.schedules.InverseTimeDecay(0.1, 10, 1.0))["registered_name"]
    'tfopt>InverseTimeDecay'
    """
    if not isinstance(schedule, LearningRateSchedule):
        raise ValueError(f"`schedule` must be a LearningRateSchedule; got {schedule!r}.")
    return describe(schedule, tuple(BUILT_IN.values()))


def deserialize(
    config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
) -> LearningRateSchedule:
    """Makes a schedule from its description, which tfopt, Keras 3 or tf-keras wrote.

    Only the schedules of this module and `custom_objects` are found, and for a schedule inside of
    another one, such as in `Warmup`, also what is registered with Keras. Nothing is imported.

    Args:
        config: what `serialize` returned, here, in Keras 3 or in tf-keras.
        custom_objects: further classes by name; they come first.

    Returns:
        The schedule.

    Raises:
        ValueError: if `config` is not such a dict, or names no schedule known here.

    >>> config = {"initial_learning_rate": 0.1, "decay_steps": 10}
    >>> deserialize({"class_name": "CosineDecay", "config": config}).decay_steps
    10
    """
    return recover(config, BUILT_IN, _MODULES, custom_objects, "a schedule")


def serialize_any(schedule: Any) -> dict[str, Any]:
    """Returns the config of a schedule of any library."""
    if isinstance(schedule, LearningRateSchedule):
        return serialize(schedule)
    cls = type(schedule)
    built_in = cls.__module__.split(".")[0] in ("keras", "tf_keras")
    return {
        "module": "keras.optimizers.schedules" if built_in else cls.__module__,
        "class_name": cls.__name__,
        "config": schedule.get_config(),
        "registered_name": None if built_in else keras.saving.get_registered_name(cls),
    }


def deserialize_any(config: Mapping[str, Any], custom_objects: Any = None) -> Any:
    """Makes a schedule from a config: one of tfopt by name, or a class registered with Keras."""
    known = dict(custom_objects or {})
    for name in (config.get("registered_name"), config.get("class_name")):
        for cls in registered(name):
            known.setdefault(name, cls)
    schedule = deserialize(config, custom_objects=known)
    if not callable(schedule):
        raise ValueError(f"`config` must be of a learning rate schedule; got {config!r}.")
    return schedule
