"""Hyperparameters: declared once on the class, live on the instance.

`Hyper` declares a number that may change while training, `Static` a choice that
shapes slots or graph, `Alias` a second name. `_config` makes the constructor and
`get_config` of them.
"""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from tfopt._libraries.serialization import plain

NEVER = object()  # a value that no hyperparameter ever has


class _Ranged:
    """A declared default with a range; the common part of `Hyper` and `Static`."""

    name = ""

    def __init__(
        self,
        default: Any,
        *,
        low: float | None = None,
        high: float | None = None,
        above: float | None = None,
        below: float | None = None,
    ):
        self.default = default
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
        if np.isnan(value) or not all(holds(value, bound) for bound, holds, _ in self.rules):
            rule = " and ".join(text for *_, text in self.rules) or "a number"
            raise ValueError(f"`{self.name}` must be {rule}; got {value!r}.")


class Hyper(_Ranged):
    """Declares a hyperparameter that may change while training.

    Assign a number, a scalar tensor, a `tf.Variable` (kept by reference), a
    callable (called with the step if it has one required positional argument,
    else with nothing) or a learning-rate schedule of tfopt, Keras 3 or tf-keras.
    A number lives in a float32 variable: assigning another number takes effect
    everywhere, in functions traced earlier too, without a retrace. In a v1 graph that
    needs a default session.

    Args:
        default: the value when the user gives none.
        low, high: the inclusive bounds that a number must keep.
        above, below: the exclusive ones.
        off: the value at which the hyperparameter takes no part in the update
            (no slot, no op); see `Optimizer.uses`. It cannot be left or entered
            from elsewhere once the optimizer has seen variables.
        tracked: the name under which the variable is saved in a
            `tf.train.Checkpoint`; `True` for its own, `False` for not at all.
    """

    def __init__(
        self, default: Any, *, off: Any = NEVER, tracked: bool | str = True, **bounds: float
    ):
        super().__init__(default, **bounds)
        self.off = off
        self._tracked = tracked

    def for_rule(self, name: str, what: str) -> Hyper:
        """The declaration of a rule's number: a value keeps this one's bounds, a factor is >= 0."""
        twin = Hyper(None, tracked=False, **({} if what == "value" else {"low": 0}))
        twin.name = name
        twin.rules = self.rules if what == "value" else twin.rules
        return twin

    @property
    def tracked(self) -> str | None:
        """The name in checkpoints, or None."""
        return self.name if self._tracked is True else (self._tracked or None)

    def __get__(self, owner: Any, cls: type | None = None) -> Any:
        return self if owner is None else owner._engine.hypers[self.name].read()

    def __set__(self, owner: Any, value: Any) -> None:
        owner._engine.set_hyper(self.name, value)


class Static(_Ranged):
    """Declares a choice that shapes slots or graph: frozen once slots exist.

    Args:
        default: the value when the user gives none. Its type is the rule: a
            `bool` takes only a bool, a number only a number, `None` anything.
        choices: the values allowed, if few.
        whole: whether it is a whole number, or None.
        in_config: False for what no config can hold, such as functions: `get_config` warns of it.
        low, high, above, below: bounds of a number, as in `Hyper`.
    """

    def __init__(
        self,
        default: Any,
        *,
        choices: tuple[Any, ...] = (),
        whole: bool = False,
        in_config: bool = True,
        **bounds: float,
    ):
        super().__init__(default, **bounds)
        self.choices = choices
        self.whole = whole
        self.in_config = in_config

    def __get__(self, owner: Any, cls: type | None = None) -> Any:
        return self if owner is None else owner._engine.statics[self.name]

    def __set__(self, owner: Any, value: Any) -> None:
        owner._engine.set_static(self.name, self.check(value))

    def check(self, value: Any) -> Any:
        """The value, or an error that says what is allowed."""
        if self.choices:
            if not any(
                value is choice or (value == choice and type(value) is type(choice))
                for choice in self.choices
            ):
                allowed = ", ".join(map(repr, self.choices))
                raise ValueError(f"`{self.name}` must be one of {allowed}; got {value!r}.")
        elif isinstance(self.default, bool):
            if not isinstance(value, bool | np.bool_):
                raise TypeError(f"`{self.name}` must be True or False; got {value!r}.")
            return bool(value)
        if self.whole:
            if value is None:
                return None
            if not is_number(value) or not float(value).is_integer():
                raise TypeError(f"`{self.name}` must be a whole number or None; got {value!r}.")
            self.check_range(value)
            return int(value)
        if isinstance(self.default, numbers.Number):
            if not is_number(value):
                raise TypeError(f"`{self.name}` must be a number; got {value!r}.")
            self.check_range(value)
            return plain(value)
        return value


class Alias:
    """A second name for a hyperparameter: reads, writes and keywords go to `target`."""

    def __init__(self, target: str):
        self.target = target

    def __get__(self, owner: Any, cls: type | None = None) -> Any:
        return self if owner is None else getattr(owner, self.target)

    def __set__(self, owner: Any, value: Any) -> None:
        setattr(owner, self.target, value)


def is_number(value: Any) -> bool:
    """Whether `value` is a real number of Python or NumPy, and not a bool."""
    return isinstance(value, numbers.Real | np.number) and not isinstance(value, bool | np.bool_)
