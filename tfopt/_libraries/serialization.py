"""Configs of schedules and initializers: written from the constructor's arguments, and read."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_KEYS = {"module", "class_name", "config", "registered_name", "shared_object_id"}


class Described:
    """Base class with a config, equality and a repr that follow from the constructor.

    The config consists of the constructor's arguments, which are read from attributes of the same
    names. Override `get_config` if you keep them in another way.
    """

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        try:
            return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        except AttributeError as error:
            raise NotImplementedError(
                f"{type(self).__name__} must override `get_config`: {error}."
            ) from error

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Any:
        """Makes an instance from what `get_config` returned.

        Raises:
            ValueError: if `config` does not fit the constructor, or a value is not allowed.
        """
        try:
            inspect.signature(cls).bind(**config)
        except TypeError as error:
            raise ValueError(
                f"`config` must hold the arguments of {cls.__name__}: {error}; got {config!r}."
            ) from error
        return cls(**decode(config))

    def __repr__(self) -> str:
        try:
            config = self.get_config()
        except NotImplementedError:
            return object.__repr__(self)
        return as_call(self, config)

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        # Encoded, since tensors of different dtypes cannot be compared.
        return self is other or bool(encode(self.get_config()) == encode(other.get_config()))

    def __hash__(self) -> int:
        return hash(type(self))  # coarse, but equal objects hash equally


def as_call(instance: Any, arguments: Mapping[str, Any]) -> str:
    """Returns the call of the constructor that makes an instance, for its repr."""
    shown = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return f"{type(instance).__name__}({shown})"


def describe(instance: Described, own: tuple[type, ...]) -> dict[str, Any]:
    """Returns a dict that JSON can hold; classes among `own` are registered as tfopt's."""
    cls = type(instance)
    return {
        "module": cls.__module__,
        "class_name": cls.__name__,
        "config": encode(instance.get_config()),
        "registered_name": f"tfopt>{cls.__name__}" if cls in own else cls.__name__,
    }


def recover(
    config: Any,
    names: Mapping[str, Any],
    modules: tuple[str | None, ...],
    custom_objects: Mapping[str, Any] | None,
    what: str,
) -> Any:
    """Makes the instance that a description stands for; nothing is imported.

    Args:
        config: the description, written by tfopt or Keras.
        names: the classes known by name, for a description that is of one of `modules`.
        modules: the modules whose classes of these names are meant.
        custom_objects: further classes by name; they come first.
        what: what is looked for, for messages.
    """
    if not isinstance(config, Mapping) or not config.keys() <= _KEYS:
        raise ValueError(f"`config` must be a dict that `serialize` returned; got {config!r}.")
    name, registered = config.get("class_name"), config.get("registered_name")
    if not isinstance(config.get("config"), Mapping):
        raise ValueError(f"`config` must hold a dict 'config' of arguments; got {config!r}.")
    arguments = decode(config["config"])
    ours = config.get("module") in modules and registered in (None, name, f"tfopt>{name}")
    known = {**(names if ours else {}), **(custom_objects or {})}
    keys = [key for key in (registered, name) if isinstance(key, str) and key in known]
    cls: Any = known[keys[0]] if keys else None
    if not hasattr(cls, "from_config"):
        raise ValueError(
            f"`config` must name {what} of this module or a class in `custom_objects`; "
            f"got {config!r}."
        )
    if "custom_objects" in inspect.signature(cls.from_config).parameters:
        return cls.from_config(arguments, custom_objects=custom_objects)
    return cls.from_config(arguments)


def encode(value: Any) -> Any:
    """Returns tensors, arrays and seed generators as Keras writes them, in dicts and lists."""
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if isinstance(value, keras.random.SeedGenerator):
        return keras.saving.serialize_keras_object(value)
    if not hasattr(value, "dtype"):
        return value
    static = tf.get_static_value(value.read_value() if isinstance(value, tf.Variable) else value)
    if static is None:
        raise ValueError(f"Only known values can be serialized; got {value!r}.")
    config = {"value": static.tolist(), "dtype": tf.as_dtype(value.dtype).name}
    return {"class_name": "__tensor__", "config": config}


def decode(value: Any) -> Any:
    """Returns tensors, lists and generators for what Keras writes for them and for tuples."""
    if isinstance(value, list | tuple):
        return [decode(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    kind = value.get("class_name")
    if kind == "__tuple__" and "items" in value:
        return decode(value["items"])
    if kind in ("__tensor__", "__numpy__") and "config" in value:
        try:
            return tf.constant(value["config"]["value"], value["config"]["dtype"])
        except (TypeError, ValueError, KeyError) as error:
            raise ValueError(f"`config` must describe tensors; {error}; got {value!r}.") from error
    if kind == "SeedGenerator" and isinstance(value.get("config"), Mapping):
        return keras.random.SeedGenerator.from_config(dict(value["config"]))
    return {key: decode(item) for key, item in value.items()}


def as_json(value: Any) -> Any:
    """Returns a config as it is after it was written as JSON and read again."""

    def coded(other: Any) -> Any:
        return np.asarray(other).tolist() if hasattr(other, "dtype") else str(other)

    return json.loads(json.dumps(value, default=coded))


def plain(value: Any) -> Any:
    """Returns a NumPy scalar as a Python number; anything else as it is."""
    return value.item() if getattr(value, "ndim", 1) == 0 and hasattr(value, "item") else value


def number(name: str, value: Any, *, low: float = -math.inf, above: float = -math.inf) -> float:
    """Returns the value as a Python number; raises unless it is a scalar within the bounds."""
    known = plain(tf.get_static_value(value) if tf.is_tensor(value) else value)
    if isinstance(known, int | float) and not isinstance(known, bool):
        if known >= low and known > above and known < math.inf:
            return known
    rule = f" >= {low}" if low > -math.inf else f" > {above}" if above > -math.inf else ""
    raise ValueError(f"`{name}` must be a finite number{rule}; got {value!r}.")
