"""What Keras 3 and tf-keras ask of an optimizer, answered by the engine."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfopt import _distribute, _ema, schedules
from tfopt._precision import Guard
from tfopt._variables import plain_python
from tfopt._warnings import warn

if keras.config.backend() != "tensorflow":
    raise ImportError(
        "tfopt needs Keras' TensorFlow backend; the backend is "
        f"{keras.config.backend()!r}. Set KERAS_BACKEND=tensorflow before importing keras."
    )


def _import_tf_keras() -> Any:
    """The module tf_keras where it is installed, else None."""
    if importlib.util.find_spec("tf_keras") is None:
        return None
    try:
        return importlib.import_module("tf_keras")
    except Exception as error:  # a broken tf-keras must not take Keras 3 users down
        warn(f"tf-keras is installed but cannot be imported, and is left out: {error!r}")
        return None


tf_keras = _import_tf_keras()

BASES: tuple[type, ...] = (keras.Optimizer,)
CALLBACKS: tuple[type, ...] = (keras.callbacks.Callback,)
if tf_keras is not None:
    BASES += (tf_keras.optimizers.Optimizer,)
    CALLBACKS += (tf_keras.callbacks.Callback,)


_OF_ALL_REPLICAS = Guard()


class NotOffered:
    """A name of Keras' base class that means nothing here; reading it says why."""

    def __init__(self, instead: str):
        self.instead = instead

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, owner: Any, cls: type | None = None) -> Any:
        raise AttributeError(f"tfopt's optimizers have no `{self.name}`: {self.instead}.")


class KerasOptimizer(tf.Module, *BASES):  # type: ignore[misc]
    """An optimizer by inheritance in both Kerases, whose own code never runs.

    Neither Keras' constructor is called, nothing of theirs is stored, and each public
    name of theirs is defined here, in the engine, or said not to be offered.
    """

    _lock = False  # Keras 3's `__setattr__` looks for it

    def _trackable_children(self, save_type: str = "checkpoint", **kwargs: Any) -> Any:
        """What is tracked, whatever it is for.

        tf-keras' version remembers its first answer: variables created later, as after a
        restore, would not be saved.
        """
        children = tf.__internal__.tracking.AutoTrackable._trackable_children
        return children(self, "checkpoint", **kwargs)

    @plain_python
    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> Any:
        """Keras 3's `apply_gradients`: gradients and variables in two lists.

        Keras 3's loss-scale wrapper calls it when the gradients of the first replica are
        finite: a step in which those of another one are not is left out.

        Args:
            grads: the gradients.
            trainable_variables: their variables; all that the optimizer has seen, in
                order, by default.

        Returns:
            The same as `apply_gradients`.

        Raises:
            ValueError: if the two lists are not of one length.
        """
        variables = (
            self._trainable_variables if trainable_variables is None else trainable_variables
        )
        grads, variables = list(grads), list(variables)
        if len(grads) != len(variables):
            raise ValueError(
                f"`grads` must have a gradient for each of {len(variables)} variables; "
                f"got {len(grads)}."
            )
        guard = self._guard
        if guard is None and tf.distribute.get_strategy().num_replicas_in_sync > 1:
            guard = _OF_ALL_REPLICAS
        pairs = zip(grads, variables, strict=True)
        if guard is self._guard or not self._takes_guards:
            return self.apply_gradients(pairs)
        return self._apply_guarded(pairs, None, True, guard)

    @plain_python
    def aggregate_gradients(self, grads_and_vars: Any) -> list[tuple[Any, Any]]:
        """The pairs with each gradient summed over replicas.

        For tf-keras' loss-scale wrapper, which then skips `apply_gradients`' own sum.

        Args:
            grads_and_vars: (gradient, variable) pairs, none of them None.

        Returns:
            The same pairs with summed gradients.
        """
        pairs = list(grads_and_vars)
        summed = _distribute.sum_over_replicas([gradient for gradient, _ in pairs])
        return [(g, variable) for g, (_, variable) in zip(summed, pairs, strict=True)]

    @property
    def _trainable_variables(self) -> list[Any]:
        """The model variables seen: a property, so that no parent module finds them here."""
        return list(self._slots.variables.values())

    @property
    def _learning_rate(self) -> Any:
        """The schedule or variable: tf-keras' TensorBoard callback looks for a schedule."""
        value = self._hypers["learning_rate"]
        return value.source if value.source is not None else value.read()

    @property
    def _model_variables_moving_average(self) -> Any:
        """For Keras 3's `SwapEMAWeights`, which exchanges them with the variables above."""
        if not self.use_ema:
            raise AttributeError("there are no averages without `use_ema`")
        return _ema.Settled(self, self._trainable_variables)

    @property
    def _distribution_strategy(self) -> Any:
        """The strategy of the variables, for the same callback."""
        for variable in self._trainable_variables:
            if isinstance(variable, tf.distribute.DistributedValues):
                return variable.distribute_strategy
        return tf.distribute.get_strategy()

    def _obj_type(self) -> str:
        return "Optimizer"

    # What tf-keras' loss-scale wrapper and training loop read.
    _built = property(lambda self: self.built)
    _run_with_dtensor = False
    _mesh = None

    add_variable = NotOffered("use `add_weight`")
    add_optimizer_variables = NotOffered("declare `slots`, or use `add_slot`")
    add_variable_from_reference = NotOffered("declare `slots`, or use `add_slot`")
    assign = NotOffered("assign to the variable")
    assign_add = NotOffered("assign to the variable")
    assign_sub = NotOffered("assign to the variable")
    stateless_apply = NotOffered("it is for Keras' JAX backend")
    update_step = NotOffered("override `update`, or `resource_apply_dense`")


def register(cls: Any, package: str = "tfopt") -> None:
    """Lets both Kerases find a class by name when they load a model."""
    for library in filter(None, (keras, tf_keras)):
        library.saving.register_keras_serializable(package=package)(cls)


def serialize_schedule(schedule: Any) -> dict[str, Any]:
    """The config of a schedule, whichever library it is from."""
    if isinstance(schedule, schedules.LearningRateSchedule):
        return schedules.serialize(schedule)
    cls = type(schedule)
    built_in = cls.__module__.split(".")[0] in ("keras", "tf_keras")
    registered = None if built_in else keras.saving.get_registered_name(cls)
    return {
        "module": "keras.optimizers.schedules" if built_in else cls.__module__,
        "class_name": cls.__name__,
        "config": schedule.get_config(),
        "registered_name": registered,
    }


def deserialize_schedule(config: Mapping[str, Any], custom_objects: Any = None) -> Any:
    """The schedule of a config: one of tfopt's by name, or a class registered with Keras."""
    known = dict(custom_objects or {})
    for name in (config.get("registered_name"), config.get("class_name")):
        for library in filter(None, (keras, tf_keras)) if isinstance(name, str) else ():
            found = library.saving.get_registered_object(name)
            if isinstance(found, type) and callable(getattr(found, "from_config", None)):
                known.setdefault(name, found)
    schedule = schedules.deserialize(config, custom_objects=known)
    if not callable(schedule):
        raise ValueError(f"`config` must be of a learning-rate schedule; got {config!r}.")
    return schedule


for _schedule in schedules.SCHEDULES:
    register(_schedule)
