"""The hyperparameters of one optimizer: numbers in variables, schedules and callables."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tfopt import schedules
from tfopt._libraries import replicas, tf_variables
from tfopt._libraries.messages import shown
from tfopt._libraries.serialization import as_call, plain
from tfopt._libraries.warnings import warn
from tfopt._state import given_values
from tfopt.hyper import NEVER, Hyper


class Home(Protocol):
    """Creates and tracks the variables of hyperparameters."""

    lock: Any  # held while variables are created

    @property
    def iterations(self) -> Any:
        """The number of steps taken, for schedules."""

    def create_scalar(self, name: str, value: Any, dtype: Any) -> Any:
        """Creates a scalar variable."""

    def track(self, variable: Any, name: str) -> None:
        """Makes checkpoints save a variable under a name."""

    def is_awaited(self, name: str) -> bool:
        """Returns whether a checkpoint that was restored earlier has a value for that name."""


class Value:
    """What one hyperparameter of one optimizer holds: a number, or a source of numbers."""

    def __init__(self, home: Home, hyper: Hyper, given: Any):
        self.home = home
        self.hyper = hyper
        self.number: Any = None  # as the user gave it; None if there is a source
        self.source: Any = None  # a variable, a symbolic tensor or a callable
        self.variable: Any = None  # holds the number for graphs
        self._replaced: Any = None  # a flag variable: whether the number replaces the source
        self._traced: Any = NEVER  # the source that users' functions were traced with
        self.frozen: bool | None = None
        self.set(given)

    @property
    def active(self) -> bool:
        """Whether the hyperparameter takes part in the update."""
        if self.frozen is not None:
            return self.frozen
        return self.source is not None or self.number != self.hyper.off

    def set(self, given: Any) -> None:
        """Sets a new value; raises, with nothing changed, if the value is not allowed."""
        number, source = given_values.interpreted(self.hyper, given)
        active = source is not None or number != self.hyper.off
        if self.frozen is False and active:
            raise ValueError(
                f"`{self.hyper.name}` cannot change from {self.hyper.off!r} once slots exist, "
                f"since functions traced earlier would not see it; got {shown(given)}."
            )
        if self.frozen is True and number is None and source is None:
            raise ValueError(
                f"`{self.hyper.name}` cannot be taken away once slots exist; got {shown(given)}."
            )
        if source is None and isinstance(self.source, tf.Variable):
            tf_variables.assign_all([(self.source, number)])
        elif self._is_symbolic_number(source):
            replicas.assign_alike(self.variable_of_number(), source)
        elif source is None:
            self._set_number(number)
        else:
            self._set_source(source)

    def _set_number(self, number: Any) -> None:
        if isinstance(self._traced, tf.Variable):
            self._warn_of_traces(number)
        with self.home.lock:  # a variable that is being created would get the old number
            self.number, self.source, variable = number, None, self.variable
        if variable is not None and number is not None:
            tf_variables.assign_all([(variable, number)])
            self._track(variable)
        if self._replaced is not None:
            tf_variables.assign_all([(self._replaced, True)])

    def _set_source(self, source: Any) -> None:
        if self._traced is not NEVER and self._traced is not source:
            self._warn_of_traces(source)
        self.source = source
        if isinstance(source, tf.Variable):
            self._track(source)
        elif self._replaced is not None:
            tf_variables.assign_all([(self._replaced, False)])

    def _warn_of_traces(self, value: Any) -> None:
        warn(
            f"`{self.hyper.name}` is now {value!r}, but functions traced earlier keep "
            "what they were traced with: trace them again, or compile the model again."
        )

    def read(self) -> Any:
        """Returns the variable that holds the value, or the current value as a tensor."""
        source = self.source  # read once: another thread may replace it by a number
        if source is None:
            return None if self.number is None else self.variable_of_number()
        return source if isinstance(source, tf.Variable) else self._evaluated(source)

    def _evaluated(self, source: Any) -> Any:
        """Returns the current value of a tensor or callable source."""
        value = source
        if callable(value):
            value = (
                value(replicas.readable_alike(self.home.iterations))
                if _takes_step(value)
                else value()
            )
        value = value if tf.is_tensor(value) else given_values.as_tensor(self.hyper.name, value)
        if tf.executing_eagerly() or not tf.compat.v1.executing_eagerly_outside_functions():
            return value
        # Tracing a user's function: leave a way for a number to take over later.
        self._traced = source
        number = tf.cast(self.variable_of_number(tracked=False), value.dtype)
        return tf.where(self._flag(), number, value)

    def value_at(self, step: Any) -> Any:
        """Returns what the source gives at a step, as a tensor."""
        source = self.source
        if callable(source) and not isinstance(source, tf.Variable):
            source = source(step) if _takes_step(source) else source()
        return tf.convert_to_tensor(source)

    def at(self, step: Any) -> float:
        """Returns what a callable source gives at a step."""
        with tf.init_scope():
            return float(tf_variables.evaluate([self.value_at(step)])[0])

    def config(self) -> Any:
        """Returns the value for `get_config`: the number as given, while it is unchanged."""
        if self.source is None:
            if self.number is None or self.variable is None:
                return plain(self.number)
            current = tf_variables.value_of(self.variable, default=self.number)
            return plain(self.number if np.float32(self.number) == current else current)
        source = self.source
        if callable(source) and hasattr(source, "get_config"):
            return schedules.serialize_any(source)
        with tf.init_scope():
            return plain(tf_variables.value_of(self.read()))

    def create(self) -> None:
        """Creates the variables that graphs read, so that no function creates them while traced."""
        if self.source is None and self.number is not None:
            self.variable_of_number()
        elif callable(self.source) and not isinstance(self.source, tf.Variable):
            self._flag()

    def variables(self) -> list[tuple[str, Any]]:
        """Returns what functions may read, by name: the number, and the flag that it is used."""
        name = self.hyper.name
        both = [(name, self.variable), (f"{name}_replaced", self._replaced)]
        return [(name, variable) for name, variable in both if variable is not None]

    def restore(self) -> None:
        """Creates the variable, so that a deferred restore runs before an assignment."""
        if self.source is None and self.number is not None and self.hyper.tracked:
            if self.home.is_awaited(self.hyper.tracked):
                self.variable_of_number()

    def note_trace(self) -> None:
        """Remembers the source that a user's function is traced with; None if it is a number."""
        if self._traced is NEVER:
            self._traced = self.source

    def variable_of_number(self, tracked: bool = True) -> Any:
        """Returns the variable that holds the number; creates it on first use."""
        with self.home.lock:
            if self.variable is None:
                number = 0.0 if self.number is None else float(self.number)
                self.variable = self.home.create_scalar(self.hyper.name, number, tf.float32)
                if tracked:
                    self._track(self.variable)
            return self.variable

    def _flag(self) -> Any:
        with self.home.lock:
            self.variable_of_number(tracked=False)
            if self._replaced is None:
                self._replaced = self.home.create_scalar(
                    f"{self.hyper.name}_replaced", False, tf.bool
                )
            return self._replaced

    def _track(self, variable: Any) -> None:
        if self.hyper.tracked:
            self.home.track(variable, self.hyper.tracked)

    def _is_symbolic_number(self, source: Any) -> bool:
        """Returns whether traced code assigns a tensor to a number: an op, and no new source."""
        return (
            tf.is_tensor(source)
            and not isinstance(source, tf.Variable)
            and tf.inside_function()
            and self.source is None
            and self.number is not None
        )


class Hypers(dict[str, Value]):
    """The hyperparameters of one optimizer, by name."""

    def __init__(self, home: Home):
        super().__init__()
        self.home = home

    def add(self, hyper: Hyper, given: Any) -> None:
        """Adds a hyperparameter with its first value."""
        self[hyper.name] = Value(self.home, hyper, given)

    def link(self, others: Hypers, prefix: str) -> None:
        """Adds the hyperparameters of an optimizer that is a part of this one. Both share them."""
        self.update({f"{prefix}{name}": value for name, value in others.items()})

    def copy_for(self, home: Home, memo: dict[int, Any]) -> Hypers:
        """Returns the same values for a deep copy of the optimizer, without those of its parts."""
        twin = Hypers(home)
        for name, value in self.items():
            if value.home is not self.home:
                continue
            source = value.source
            given = value.config() if source is None else memo.get(id(source), source)
            twin.add(value.hyper, given)
            twin[name].frozen = None
        return twin

    def create(self) -> None:
        """Creates the variables of all numbers, in a fixed order."""
        for value in self.values():
            value.create()

    def restore(self) -> None:
        """Creates the variables of numbers for which a checkpoint has values."""
        for value in self.values():
            value.restore()

    def texts(self) -> dict[str, str]:
        """Returns the `repr` of those that are schedules, by name."""
        return {
            name: _text(value.source)
            for name, value in self.items()
            if callable(value.source) and hasattr(value.source, "get_config")
        }

    def freeze(self) -> None:
        """Fixes which hyperparameters are off."""
        for value in self.values():
            if value.hyper.off is not NEVER:
                value.frozen = value.active

    def numbers(self) -> dict[str, Any]:
        """Returns the variables of those that are numbers, by name: what files hold of them."""
        return {
            name: value.variable
            for name, value in self.items()
            if value.variable is not None and value.source is None
        }

    def match(self, loaded: Mapping[str, np.ndarray]) -> list[tuple[Any, np.ndarray]]:
        """Returns pairs of a variable and a loaded number, where the two differ."""
        pairs = []
        for name, value in self.items():
            if name in loaded and value.source is None and value.number is not None:
                if not np.array_equal(np.float32(value.config()), loaded[name]):
                    pairs.append((value.read(), loaded[name]))
        return pairs

    def signature(self) -> tuple[Any, ...]:
        """Says where a step finds each value: if this changes, the step must be traced again."""
        return tuple((value.source is None, value.number is None) for value in self.values())

    def active(self) -> frozenset[str]:
        """Returns the names of the hyperparameters that take part in updates."""
        return frozenset(name for name, value in self.items() if value.active)

    def evaluate_at(self, step: Any) -> dict[str, Any]:
        """Returns the values that do not live in a variable, at a step."""
        return {n: value.value_at(step) for n, value in self.items() if value.source is not None}

    def evaluate(self) -> dict[str, Any]:
        """Returns the values that do not live in a variable, in the current context.

        Eager steps evaluate them outside of the cached function, at every step.
        """
        values = {}
        for name, value in self.items():
            if not tf.executing_eagerly():
                value.note_trace()
            if value.source is not None:
                values[name] = tf.convert_to_tensor(value.read())
        return values


def _text(schedule: Any) -> str:
    """Returns the `repr` of a schedule; for one that has no own, the call that makes it."""
    by_object = inspect.getattr_static(type(schedule), "__repr__") == vars(object)["__repr__"]
    return as_call(schedule, schedule.get_config()) if by_object else repr(schedule)


def _takes_step(function: Callable[..., Any]) -> bool:
    """Returns whether `function` has one required positional argument, which is the step."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [p for p in parameters if p.kind in positional and p.default is p.empty]
    return len(required) == 1
