"""Optimizers that change the update of another optimizer: the base class of Lookahead and SWA."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfopt import registry
from tfopt._engine import formula_calls
from tfopt._engine.engine import Engine
from tfopt._engine.policy import Policy
from tfopt._engine.scalars import Scalars
from tfopt._libraries import tensorflow_private
from tfopt.optimizer import Optimizer
from tfopt.wrappers.parts import checked, copied

KEYWORD = "inner_optimizer"
OF_THE_INNER = {"weight_decay", "decay"}  # common hyperparameters that the inner optimizer has


class WrapperEngine(Engine):
    """The engine of a wrapper, which has the numbers and the rules of both optimizers."""

    inner: Any = None

    def take(self, inner: Optimizer) -> None:
        """Makes an optimizer the inner one, whose steps this optimizer takes from now on."""
        engine, declared = inner._engine, self.declared
        numbers = {
            name: value
            for name, value in engine.hypers.items()
            if name in OF_THE_INNER or name not in declared.common
        }
        both = sorted(self.numbers() & numbers.keys())
        if both:
            raise ValueError(
                f"`{KEYWORD}` must not have a `{both[0]}`, since {type(self.optimizer).__name__} "
                f"has one; got {inner!r}."
            )
        twice = sorted(engine.declared_state().keys() & self.optimizer.state.keys())
        if twice:
            raise ValueError(
                f"`{KEYWORD}` must not have a `{twice[0]}` in its `state`, since "
                f"{type(self.optimizer).__name__} has one; got {inner!r}."
            )
        self.inner = inner
        engine.state.part_of, engine.groups.part_of = self.state, self.groups
        self.hypers.update(numbers)
        tensorflow_private.track(self.optimizer, inner, KEYWORD)
        for rule in engine.groups.rules:
            rule.part = KEYWORD
            self.groups.rules.append(rule)
        known = declared.is_known and engine.declared.is_known
        self.declared = dataclasses.replace(declared, is_known=known)

    def release(self) -> None:
        """Makes the inner optimizer independent again, if the constructor failed."""
        if self.inner is not None:
            self.inner._engine.state.part_of = self.inner._engine.groups.part_of = None

    def declared_state(self) -> Mapping[str, float]:
        """Returns the scalars that both declare."""
        return {**self.inner._engine.declared_state(), **self.optimizer.state}

    def numbers(self) -> set[str]:
        """Returns the hyperparameters that both declare themselves."""
        own = super().numbers()
        return own if self.inner is None else own | self.inner._engine.numbers()

    def copy_for(self, optimizer: Any, memo: dict[int, Any]) -> Engine:
        """Returns the parts of a deep copy, still without slots."""
        twin = super().copy_for(optimizer, memo)
        assert isinstance(twin, WrapperEngine)
        twin.groups.rules = [rule for rule in twin.groups.rules if rule.part is None]
        twin.take(copied(self.inner, memo))
        return twin


class Inner(Policy):
    """The policy that brings the inner optimizer."""

    keywords = {KEYWORD: "Optimizer | str | Mapping[str, Any]"}
    configured_first = True

    @classmethod
    def is_used_by(cls, engine: Engine) -> bool:
        """Returns False: it takes no part in a step of its own."""
        return False

    @classmethod
    def configure(cls, engine: Engine, values: Mapping[str, Any]) -> None:
        """Takes the optimizer that the constructor was given."""
        assert isinstance(engine, WrapperEngine)
        for name in sorted(OF_THE_INNER & engine.hypers.keys()):
            if engine.hypers[name].config() != engine.declared.fields[name].default:
                raise ValueError(
                    f"`{name}` must be given to `{KEYWORD}`; got {engine.hypers[name].config()!r} "
                    f"for {type(engine.optimizer).__name__}."
                )
        engine.take(checked(values.get(KEYWORD), KEYWORD, allowed=["roles"]))

    @classmethod
    def config(cls, engine: Engine) -> dict[str, Any]:
        """Returns the config of the inner optimizer, for `get_config`."""
        assert isinstance(engine, WrapperEngine)
        return {KEYWORD: registry.serialize(engine.inner)}

    @classmethod
    def from_config(cls, value: Any, custom_objects: Mapping[str, Any] | None) -> Any:
        """Returns the optimizer of a config."""
        return registry.deserialize(value, custom_objects)


class Wrapper(Optimizer, policies=[Inner], engine=WrapperEngine):
    """Base class of optimizers around another one, such as Lookahead.

    A subclass declares hyperparameters, `slots`, `state`, `begin` and `update`, as any optimizer
    does. Its `super()` calls those of the inner optimizer. The two have one step, one state and one
    config. The hyperparameters of the inner optimizer are also those of the wrapper, so that
    callbacks find `learning_rate`.

    If your `update` works row by row, declare `sparse = tfopt.Wrapper.sparse`. Then sparse
    gradients are treated as in the inner optimizer. Without this declaration they are made dense.

    Args:
        inner_optimizer: an optimizer of tfopt that has seen no variables, or an identifier for
            `tfopt.get`. It may have `weight_decay`, `exclude_from_weight_decay`, `decay`, `lazy`;
            all other shared keywords are arguments of the wrapper.
        *args: the hyperparameters that the subclass declares, by position.
        name: a name.
        **kwargs: the same by name, and the keywords that all optimizers share.

    Raises:
        TypeError: if `inner_optimizer` is not an optimizer of tfopt.
        ValueError: if the inner optimizer has options that belong to the wrapper, or both declare
            a hyperparameter of the same name.

    >>> class Halfway(tfopt.Wrapper):
    ...     part = tfopt.Hyper(0.5, low=0, high=1)
    ...
    ...     def update(self, g, x, s, h):
    ...         return x + h.part * (super().update(g, x, s, h) - x)
    >>> x, opt = tf.Variable(1.0), Halfway(tfopt.SGD(0.5))
    >>> _ = opt.apply_gradients([(1.0, x)])
    >>> float(x), float(opt.learning_rate)
    (0.75, 0.5)
    """

    _engine: WrapperEngine

    def __init__(self, inner_optimizer: Any, *args: Any, name: str | None = None, **kwargs: Any):
        name = type(self).__name__ if name is None else name
        try:
            super().__init__(*args, name=name, inner_optimizer=inner_optimizer, **kwargs)
        except Exception:
            if "_engine" in self.__dict__:
                self._engine.release()
            raise

    @property
    def inner_optimizer(self) -> Optimizer:
        """The optimizer inside."""
        return self._engine.inner

    # --- what the inner optimizer says ------------------------------------------------------------

    @property
    def roles(self) -> Any:  # type: ignore[override]
        """The roles of the inner optimizer."""
        return self._engine.inner.roles

    @property
    def sparse(self) -> Any:
        """What the inner optimizer does with rows."""
        roles, engine = self.roles, self._engine.inner._engine
        words = {
            role: "whole" if engine.densifies(role) else engine.rows_word(role)
            for role in roles or [""]
        }
        return words if roles else words[""]

    @property
    def decays(self) -> Any:  # type: ignore[override]
        """How weights decay in the inner optimizer."""
        return self._engine.inner.decays

    @property
    def roles_without_decay(self) -> Any:  # type: ignore[override]
        """The roles whose variables do not decay in the inner optimizer."""
        return self._engine.inner.roles_without_decay

    @property
    def complex_numbers(self) -> Any:  # type: ignore[override]
        """Whether the inner optimizer takes complex variables."""
        return self._engine.inner.complex_numbers

    def check_arguments(self) -> None:
        """Raises for an option that would act on more than the inner optimizer's update."""
        if self.cautious_weight_decay:
            raise ValueError(
                f"`cautious_weight_decay` must be False: {type(self).__name__} moves variables "
                "after the inner optimizer; got True."
            )

    def choose_role(self, x: Any) -> str:
        """Returns the role that the inner optimizer chooses."""
        return str(self._engine.inner.choose_role(x))

    def slots(self, x: Any) -> dict[str, Any]:
        """Declares the slots of the inner optimizer."""
        return dict(self._engine.inner.slots(x))

    def begin(self, h: Scalars, state: Scalars) -> None:
        """Adds what the inner optimizer adds."""
        formula_calls.begin(self._engine.inner, h, state)

    def evaluated(self, x: Any, s: Scalars, h: Scalars) -> Any:
        """Returns what the inner optimizer evaluates with."""
        return self._engine.inner.evaluated(x, s, h)

    @property
    def averages_itself(self) -> bool:
        """Whether `evaluated` returns something else than the value."""
        overridden = type(self).evaluated is not Wrapper.evaluated
        return overridden or self._engine.inner.averages_itself

    def update(self, g: Any, x: Any, s: Scalars, h: Scalars) -> Any:
        """Computes the update of the inner optimizer."""
        return formula_calls.update(self._engine.inner, g, x, s, h)
