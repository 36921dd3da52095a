"""Declarations of hyperparameters: `Hyper`, `Static` and `Alias`.

`Hyper` declares a number that may change while training. `Static` declares a choice that
decides about slots or about the graph. `Alias` declares a second name. `_declarations` makes the
constructor and `get_config` from them.
"""

from __future__ import annotations

import functools
import numbers
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import numpy as np
import tensorflow as tf

from tfopt._libraries.messages import shown
from tfopt._libraries.serialization import plain

NEVER = object()  # no hyperparameter has this value


class _Scalar(Protocol):
    """Tensors, variables and numbers of NumPy, by what all of them have."""

    def __array__(self, *args: Any, **kwargs: Any) -> Any: ...


# What a hyperparameter takes: see `Hyper`. TensorFlow ships no types, so `tf.Tensor` in this union
# would have type checkers accept anything.
ScalarOrSchedule: TypeAlias = float | _Scalar | Callable[[], Any] | Callable[[Any], Any]


class _Ranged:
    """A declared default with a range: the common part of `Hyper` and `Static`."""

    name = ""

    def __init__(
        self,
        default: Any,
        *,
        low: float | None = None,
        high: float | None = None,
        above: float | None = None,
        below: float | None = None,
        needs: str | None = None,
    ):
        self.default = default
        self.needs = needs
        self.rules = [
            (bound, holds, f"{symbol} {bound}")
            for bound, holds, symbol in (
                (low, np.greater_equal, ">="),
                (above, np.greater, ">"),
                (high, np.less_equal, "<="),
                (below, np.less, "<"),
            )
            if bound is not None
        ]

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def check_range(self, value: Any) -> None:
        """Raises `ValueError` for a number out of range, or NaN."""
        number = _as_float(value)
        if np.isnan(number) or not all(holds(number, bound) for bound, holds, _ in self.rules):
            rule = " and ".join(text for *_, text in self.rules) or "a number"
            raise ValueError(f"`{self.name}` must be {rule}; got {value!r}.")


class Hyper(_Ranged):
    """Declares a hyperparameter that may change while training.

    The value is a number, a scalar tensor, a `tf.Variable` (kept by reference), a callable or a
    learning rate schedule of tfopt, Keras 3 or tf-keras. A callable is called with the step if it
    has one required positional argument, and without arguments otherwise.

    A number lives in a float32 variable. If you assign another number, functions that are already
    traced use it, too, without a retrace. In a v1 graph an assignment needs a default session.

    Args:
        default: the value when the user gives none.
        low, high: the smallest and the largest number allowed.
        above, below: bounds that the number must not reach.
        off: the value at which the hyperparameter takes no part in the update: it has no slot
            and no op; see `Optimizer.uses`. Once the optimizer has seen variables, it cannot be
            switched on or off.
        tracked: the name under which a `tf.train.Checkpoint` saves the variable. True: the
            hyperparameter's own name. False: it is not saved.
        needs: the name of another hyperparameter, without which this one has no effect. The
            constructor warns if it is given alone.
    """

    def __init__(
        self,
        default: Any,
        *,
        low: float | None = None,
        high: float | None = None,
        above: float | None = None,
        below: float | None = None,
        off: Any = NEVER,
        tracked: bool | str = True,
        needs: str | None = None,
    ):
        super().__init__(default, needs=needs, low=low, high=high, above=above, below=below)
        self.off = off
        self._tracked = tracked

    def check_range(self, value: Any) -> None:
        """Raises `ValueError` for a number out of range, NaN, or one that float32 cannot hold.

        What can be off, such as a limit, may be infinite.
        """
        super().check_range(value)
        number = _as_float(value)
        largest = float(np.finfo(np.float32).max)
        if abs(number) > largest and not (np.isinf(number) and self.off is None):
            raise ValueError(f"`{self.name}` must be at most {largest}; got {value!r}.")

    def for_rule(self, name: str, what: str) -> Hyper:
        """Declares a number of a rule: a value has this one's bounds, a factor is at least 0."""
        twin = Hyper(None) if what == "value" else Hyper(None, low=0)
        twin.name = name
        twin.rules = self.rules if what == "value" else twin.rules
        return twin

    @property
    def annotation(self) -> str:
        """The type of the constructor's argument."""
        return "ScalarOrSchedule" if self.off is not None else "ScalarOrSchedule | None"

    @property
    def tracked(self) -> str | None:
        """The name in checkpoints, or None."""
        return self.name if self._tracked is True else (self._tracked or None)

    def __get__(self, owner: Any, cls: type | None = None) -> Any:
        return self if owner is None else attribute(owner, self.name)

    def __set__(self, owner: Any, value: ScalarOrSchedule | None) -> None:
        owner._engine.set_hyper(self.name, value)


def attribute(optimizer: Any, name: str) -> Any:
    """Returns a hyperparameter as users read it: a variable, or the current value as a tensor."""
    value = optimizer._engine.hypers[name].read()
    if tf.executing_eagerly() and tf.is_tensor(value) and not hasattr(value, "assign"):
        # tf-keras' callbacks assign to what they read, also to the value of a schedule.
        value.assign = functools.partial(setattr, optimizer, name)
    return value


class Static(_Ranged):
    """Declares a choice that decides about slots or about the graph: it is fixed once slots exist.

    Args:
        default: the value when the user gives none. Values must have its type: for a bool only a
            bool is allowed, for a number only a number. For `None` anything is allowed.
        choices: the values that are allowed, if there are few.
        whole: True if the value must be a whole number, or None if that is the default.
        in_config: False if no config can hold the value, such as a function; then `get_config`
            warns of it.
        annotation: the type for type checkers, where the default does not tell it.
        needs: the name of another hyperparameter, as in `Hyper`.
        low, high, above, below: bounds of a number, as in `Hyper`.
    """

    def __init__(
        self,
        default: Any,
        *,
        choices: tuple[Any, ...] = (),
        whole: bool = False,
        in_config: bool = True,
        annotation: str = "",
        needs: str | None = None,
        low: float | None = None,
        high: float | None = None,
        above: float | None = None,
        below: float | None = None,
    ):
        super().__init__(default, needs=needs, low=low, high=high, above=above, below=below)
        self.choices = choices
        self._annotation = annotation
        self.whole = whole
        self.in_config = in_config

    def __get__(self, owner: Any, cls: type | None = None) -> Any:
        return self if owner is None else owner._engine.statics[self.name]

    def __set__(self, owner: Any, value: Any) -> None:
        owner._engine.set_static(self.name, self.check(value))

    @property
    def annotation(self) -> str:
        """The type of the constructor's argument."""
        if self._annotation:
            return self._annotation
        kinds = {type(each) for each in (self.default, *self.choices)}
        words = ", ".join(f'"{each}"' for each in self.choices if isinstance(each, str))
        number = "int" if self.whole else "float"
        found = {
            f"Literal[{words}]": bool(words),
            "bool": bool in kinds,
            number: self.whole or bool(kinds & {int, float}),
            "None": type(None) in kinds,
        }
        names = [name for name, is_so in found.items() if is_so]
        return "Any" if names == ["None"] else " | ".join(names)

    def check(self, value: Any) -> Any:
        """Returns the value, or raises an error that says what is allowed."""
        if self.choices:
            if not any(
                value is choice or (value == choice and type(value) is type(choice))
                for choice in self.choices
            ):
                allowed = ", ".join(map(repr, self.choices))
                raise ValueError(f"`{self.name}` must be one of {allowed}; got {shown(value)}.")
        elif isinstance(self.default, bool):
            if not isinstance(value, bool | np.bool_):
                raise TypeError(f"`{self.name}` must be True or False; got {shown(value)}.")
            return bool(value)
        if self.whole:
            if value is None and self.default is None:
                return None
            if not is_number(value) or not float(value).is_integer():
                rule = "a whole number or None" if self.default is None else "a whole number"
                raise TypeError(f"`{self.name}` must be {rule}; got {shown(value)}.")
            self.check_range(value)
            return int(value)
        if is_number(self.default):
            if not is_number(value):
                raise TypeError(f"`{self.name}` must be a number; got {shown(value)}.")
            self.check_range(value)
            return plain(value)
        return value


class Alias:
    """Declares a second name for a hyperparameter: reads, writes and keywords go to `target`."""

    def __init__(self, target: str):
        self.target = target

    def __get__(self, owner: Any, cls: type | None = None) -> Any:
        return self if owner is None else getattr(owner, self.target)

    def __set__(self, owner: Any, value: Any) -> None:
        setattr(owner, self.target, value)


def _as_float(value: Any) -> float:
    """Returns a number as a float: infinite if it is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def is_number(value: Any) -> bool:
    """Returns whether `value` is a real number of Python or NumPy, and not a bool."""
    return isinstance(value, numbers.Real | np.number) and not isinstance(value, bool | np.bool_)
