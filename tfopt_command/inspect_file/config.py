"""What the config of an optimizer says. A config is JSON: nothing that it names is imported."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tfopt_command.inspect_file.found import POLICIES, FoundOptimizer

_OF_AVERAGES = ("ema_momentum", "ema_overwrite_frequency")
_NO_NUMBERS = ("name", "jit_compile", "is_legacy_optimizer")
_INNER = ("inner_optimizer", "optimizer")  # of wrappers, in Keras 3 and tfopt, and in tf-keras


def add_config(found: FoundOptimizer, serialized: Any, library: str) -> None:
    """Adds what the serialized optimizer of a model says.

    Args:
        found: what to add to.
        serialized: {"class_name": ..., "config": {...}}, of any library.
        library: the library that wrote the file, for classes that are not of tfopt.
    """
    if isinstance(serialized, str):  # a model that was compiled with a name
        found.optimizer = f"{serialized!r}, a name given to compile, in {library}"
        return
    if not isinstance(serialized, Mapping) or not isinstance(serialized.get("config"), Mapping):
        found.notes.append("The config of the optimizer is not legible.")
        return
    found.optimizer = class_of(serialized, library)
    found.has_config = True
    config = dict(serialized["config"])
    for key in _INNER:
        inner = config.pop(key, None)
        if isinstance(inner, Mapping) and isinstance(inner.get("config"), Mapping):
            found.optimizer += f" around {class_of(inner, library)}"
            config = {**inner["config"], **config}
    parts = config.pop("optimizers", None)
    if isinstance(parts, list) and all(isinstance(part, Mapping) for part in parts):
        found.optimizer += f" of {', '.join(class_of(part, library) for part in parts)}"
    rate = config.pop("learning_rate", None)
    if found.learning_rate is None or isinstance(rate, Mapping):
        found.learning_rate = shown(rate)
    for name, value in config.items():
        if name in _NO_NUMBERS or (name in _OF_AVERAGES and not config.get("use_ema")):
            continue
        if name in POLICIES:
            if value not in (None, False, 0, [], {}):
                found.policies.setdefault(name, shown(value))
        else:  # a number that is stored with the state is newer than the config
            found.hyperparameters.setdefault(name, shown(value))


def class_of(serialized: Mapping[str, Any], library: str) -> str:
    """Returns the class of a serialized object as a reader knows it: `tfopt.Adam`."""
    name = serialized.get("registered_name") or serialized.get("class_name")
    package, _, cls = str(name).rpartition(">")
    if package in ("", "Custom"):  # "Custom" is what tf-keras calls its own optimizers in .h5
        module = str(serialized.get("module") or "")
        is_keras = not module or module.split(".")[0] in ("keras", "tf_keras")
        return f"{cls} of {library}" if is_keras else f"{cls} of {module}"
    return f"{package}.{cls}"


def shown(value: Any) -> Any:
    """Returns a value of a config as a reader wants it: an object as a call of its class."""
    if isinstance(value, Mapping) and "class_name" in value:
        arguments = value.get("config")
        if not isinstance(arguments, Mapping):
            return str(arguments if value["class_name"] == "function" else value["class_name"])
        listed = ", ".join(
            f"{n}={shown(v)}" for n, v in arguments.items() if n != "name" and v is not None
        )
        return f"{str(value['class_name']).rpartition('>')[2]}({listed})"
    if isinstance(value, list):
        return [shown(v) for v in value]
    if isinstance(value, str):
        return re.sub(r"[^\x20-\x7e]", "?", value)  # nothing that a terminal would obey
    return value
