"""Optimizers by name: `get`, `register`, `serialize`, `deserialize`.

Only registered names can be used: a config cannot import or call anything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import keras

from tfopt._declarations.misspelt import did_you_mean
from tfopt._keras.optimizer import KerasOptimizer
from tfopt._libraries import keras as keras_libraries
from tfopt._libraries.messages import shown
from tfopt.optimizer import Optimizer

Class = TypeVar("Class", bound=type[KerasOptimizer])

_CLASSES: dict[str, Any] = {}
_WRAPPERS: dict[type, type[Optimizer]] = {}  # by the class that they wrap
_OTHER_NAMES = {
    "lossscaleoptimizerv3": "lossscaleoptimizer",  # of tf-keras
    "radam": "rectifiedadam",  # of PyTorch and Optax
}
KERAS_MODULES = ("keras.optimizers", "tf_keras.optimizers")


def register(cls: Class, package: str = "tfopt") -> Class:
    """Registers a class under its name: in tfopt, and in Keras 3 and tf-keras for loading models.

    Args:
        cls: a subclass of `tfopt.Optimizer`.
        package: the package that the class is from. The name is `package>ClassName`; a class of
            tfopt is also found as `ClassName`, in upper or lower case.

    Returns:
        The class, so that this can be used as a decorator.

    Raises:
        TypeError: if `cls` is not a subclass of `tfopt.Optimizer`.
        ValueError: if the name is taken.
    """
    if not (isinstance(cls, type) and issubclass(cls, KerasOptimizer)):
        raise TypeError(f"`cls` must be a subclass of tfopt.Optimizer; got {cls!r}.")
    name = f"{package}>{cls.__name__}"
    known = _CLASSES.setdefault(name.lower(), cls)
    if known is not cls:
        raise ValueError(f"The name {name!r} is taken by {known!r}; got {cls!r}.")
    keras_libraries.register(cls, package)
    return cls


def wrap(kind: type, wrapper: type[Optimizer]) -> None:
    """Makes `get` wrap objects of a class in a class of tfopt."""
    _WRAPPERS[kind] = wrapper


def get(identifier: Any) -> Any:
    """Returns the optimizer for a name, a config or an object.

    Args:
        identifier: a name in upper or lower case ("adam"); a config, as `serialize`, Keras 3 or
            tf-keras writes it; an optimizer of tfopt, Keras 3 or tf-keras, which is returned
            unchanged; a subclass of `tfopt.Optimizer`; or a `tf.compat.v1.train.Optimizer`,
            which is wrapped.

    Returns:
        An optimizer.

    Raises:
        ValueError: if the identifier is none of these, or names no registered optimizer.

    >>> tfopt.get("sgd")
    tfopt.SGD(name='SGD', learning_rate=0.01, momentum=0.0, nesterov=False)
    """
    if isinstance(identifier, Optimizer | keras.Optimizer) or _is_tf_keras(identifier):
        return identifier
    if isinstance(identifier, str):
        return _lookup(identifier)()
    if isinstance(identifier, Mapping):
        return deserialize(identifier)
    if isinstance(identifier, type) and issubclass(identifier, Optimizer):
        return identifier()
    for kind, wrapper in _WRAPPERS.items():
        if isinstance(identifier, kind):
            return wrapper(identifier)
    raise ValueError(
        f"Could not interpret the optimizer identifier: {shown(identifier)}. It must be "
        "the name of an optimizer, a config, or an optimizer of tfopt, Keras 3 or tf-keras."
    )


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """Returns the class and config of an optimizer, as `deserialize` and Keras 3 read them.

    Args:
        optimizer: an optimizer of tfopt.

    Returns:
        A dict that JSON can hold.

    Raises:
        ValueError: if `optimizer` is not one of tfopt.
    """
    if not isinstance(optimizer, KerasOptimizer):
        raise ValueError(f"`optimizer` must be an optimizer of tfopt; got {shown(optimizer)}.")
    cls = type(optimizer)
    return {
        "module": cls.__module__,
        "class_name": cls.__name__,
        "config": optimizer.get_config(),
        "registered_name": _registered_name(cls) or cls.__name__,
    }


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Makes an optimizer from a class name and a config.

    Args:
        config: {"class_name": ..., "config": {...}}, as `serialize`, Keras 3 or tf-keras writes
            it. A module named in it is not imported.
        custom_objects: more classes by name.

    Returns:
        An optimizer of tfopt.

    Raises:
        ValueError: if `config` is malformed, or names no registered optimizer.
    """
    if not isinstance(config, Mapping) or not isinstance(config.get("class_name"), str):
        raise ValueError(
            "`config` must be a dict with `class_name`, a string, and `config`, a dict; "
            f"got {shown(config)}."
        )
    arguments = config.get("config", {})
    if not isinstance(arguments, Mapping):
        raise ValueError(f"`config` must hold a dict under `config`; got {shown(config)}.")
    name = config.get("registered_name") or config["class_name"]
    cls = (custom_objects or {}).get(config["class_name"]) or _lookup(
        name if isinstance(name, str) and ">" in name else config["class_name"]
    )
    return cls.from_config(arguments, custom_objects=custom_objects)


def _lookup(name: str) -> type[Optimizer]:
    lower = _OTHER_NAMES.get(name.lower(), name.lower())
    found = _CLASSES.get(lower) or _CLASSES.get(f"tfopt>{lower}")
    if found is None:
        known = sorted({_name_for_get(registered) for registered in _CLASSES})
        parts = [f"Unknown optimizer: {name!r}.", did_you_mean(name.rpartition(">")[2], known)]
        parts.append(f"Registered are {', '.join(known)}.")
        raise ValueError(" ".join(filter(None, parts)))
    return found


def _name_for_get(registered: str) -> str:
    """Returns the name by which `get` finds a class; those of tfopt need no package."""
    package, cls = registered.split(">")[0], _CLASSES[registered].__name__
    return cls if package.split(".")[0] == "tfopt" else f"{package}>{cls}"


def _registered_name(cls: type) -> str | None:
    names = (name for name, known in _CLASSES.items() if known is cls)
    found = next(names, None)
    return None if found is None else f"{found.split('>')[0]}>{cls.__name__}"


def _is_tf_keras(identifier: Any) -> bool:
    library = keras_libraries.tf_keras
    return library is not None and isinstance(
        identifier, library.optimizers.Optimizer | library.optimizers.legacy.Optimizer
    )
