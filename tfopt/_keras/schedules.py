"""Learning-rate schedules of tfopt, Keras 3 and tf-keras: to a config, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from tfopt import schedules
from tfopt._keras.libraries import register, registered


def serialize(schedule: Any) -> dict[str, Any]:
    """The config of a schedule, whichever library it is from."""
    if isinstance(schedule, schedules.LearningRateSchedule):
        return schedules.serialize(schedule)
    cls = type(schedule)
    built_in = cls.__module__.split(".")[0] in ("keras", "tf_keras")
    return {
        "module": "keras.optimizers.schedules" if built_in else cls.__module__,
        "class_name": cls.__name__,
        "config": schedule.get_config(),
        "registered_name": None if built_in else keras.saving.get_registered_name(cls),
    }


def deserialize(config: Mapping[str, Any], custom_objects: Any = None) -> Any:
    """The schedule of a config: one of tfopt's by name, or a class registered with Keras."""
    known = dict(custom_objects or {})
    for name in (config.get("registered_name"), config.get("class_name")):
        for cls in registered(name):
            known.setdefault(name, cls)
    schedule = schedules.deserialize(config, custom_objects=known)
    if not callable(schedule):
        raise ValueError(f"`config` must be of a learning-rate schedule; got {config!r}.")
    return schedule


for _schedule in schedules.SCHEDULES:
    register(_schedule)
