"""Keras 3 and tf-keras: the modules, their base classes, and how tfopt registers its classes."""

from __future__ import annotations

import importlib.util
from typing import Any

import keras

from tfopt._libraries.warnings import warn

if keras.config.backend() != "tensorflow":
    raise ImportError(
        "tfopt needs Keras' TensorFlow backend; the backend is "
        f"{keras.config.backend()!r}. Set KERAS_BACKEND=tensorflow before importing keras."
    )


def _import_tf_keras() -> Any:
    """Returns the module tf_keras if it is installed, else None."""
    if importlib.util.find_spec("tf_keras") is None:
        return None
    try:
        return importlib.import_module("tf_keras")
    except Exception as error:  # a broken tf-keras must not stop users of Keras 3
        warn(f"tf-keras is installed but cannot be imported, and is left out: {error!r}")
        return None


tf_keras = _import_tf_keras()
LIBRARIES: tuple[Any, ...] = tuple(filter(None, (keras, tf_keras)))

BASES: tuple[type, ...] = (keras.Optimizer,)
LEGACY_BASES: tuple[type, ...] = ()  # OptimizerV2, where it is there
CALLBACKS: tuple[type, ...] = (keras.callbacks.Callback,)
# Both libraries tell the following from other callables by `isinstance`.
SCHEDULES: tuple[type, ...] = tuple(
    library.optimizers.schedules.LearningRateSchedule for library in LIBRARIES
)
INITIALIZERS: tuple[type, ...] = tuple(library.initializers.Initializer for library in LIBRARIES)
VARIANCE_SCALING: Any = keras.initializers.VarianceScaling  # Keras' layers pass axes to it
SEED_GENERATOR: Any = keras.random.SeedGenerator
if tf_keras is not None:
    BASES += (tf_keras.optimizers.Optimizer,)
    LEGACY_BASES += (tf_keras.optimizers.legacy.Optimizer,)
    CALLBACKS += (tf_keras.callbacks.Callback,)


def register(cls: Any, package: str = "tfopt") -> None:
    """Registers a class with Keras 3 and tf-keras, which find it by name when they load a model."""
    for library in LIBRARIES:
        library.saving.register_keras_serializable(package=package)(cls)
        for name in {cls.__name__.lower(), cls.__name__.upper()} - {cls.__name__}:
            library.saving.get_custom_objects()[f"{package}>{name}"] = cls


def initialize_in_sessions(variable: Any) -> None:
    """Lets tf-keras initialize a variable of a v1 graph in its session, as OptimizerV2's are."""
    if tf_keras is not None:
        tf_keras.__internal__.backend.track_variable(variable)


def registered(name: Any) -> list[type]:
    """Returns the classes with a config that Keras 3 or tf-keras have registered under a name."""
    found = [lib.saving.get_registered_object(name) for lib in LIBRARIES if isinstance(name, str)]
    return [
        cls
        for cls in found
        if isinstance(cls, type) and callable(getattr(cls, "from_config", None))
    ]
