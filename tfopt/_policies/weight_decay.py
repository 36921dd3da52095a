"""Weight decay, decoupled from the gradient, and the variables that it leaves alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfopt._engine.engine import Engine
from tfopt._engine.policy import Policy
from tfopt._engine.step_records import H, Step, Update
from tfopt._engine.variable_groups import Group, Rule
from tfopt._libraries import tf_variables
from tfopt.hyper import Hyper

KEYWORD = "exclude_from_weight_decay"


class Excluded(Rule):
    """The variables without weight decay: variables, and regular expressions for their paths."""

    def __init__(self) -> None:
        super().__init__(self._is_excluded, off=["weight_decay"])
        self._keys: dict[Any, str] = {}
        self._patterns: list[str] = []

    def copied(self) -> Excluded:
        """Returns a copy, to which other variables can be added."""
        twin = Excluded()
        twin._keys, twin._patterns = dict(self._keys), list(self._patterns)
        return twin

    def holds(self, entry: Any) -> bool:
        """Returns whether exactly this entry was added."""
        if isinstance(entry, str):
            return entry in self._patterns
        return _is_variable(entry) and all(
            tf_variables.key(part) in self._keys for part in tf_variables.shards([entry])
        )

    def add(self, entry: Any) -> None:
        """Excludes a variable, or those whose paths match a regular expression."""
        if isinstance(entry, str):
            try:
                re.compile(entry)
            except re.error as error:
                raise ValueError(
                    f"`{KEYWORD}` must hold regular expressions; got {entry!r}: {error}."
                ) from None
            self._patterns.append(entry)
        elif _is_variable(entry):
            for variable in tf_variables.shards([entry]):
                self._keys[tf_variables.key(variable)] = tf_variables.variable_path(variable)
        else:
            raise TypeError(
                f"`{KEYWORD}` must hold variables and regular expressions; got {entry!r}."
            )

    def patterns(self) -> list[str]:
        """Returns regular expressions for all of these variables, for a config."""
        return [*self._patterns, *(f"^{re.escape(path)}$" for path in self._keys.values())]

    def _is_excluded(self, variable: Any) -> bool:
        if tf_variables.key(variable) in self._keys:
            return True
        path = tf_variables.variable_path(variable)
        return any(re.search(pattern, path) for pattern in self._patterns)


def _is_variable(value: Any) -> bool:
    kinds = tf.Variable | tf_variables.ShardedVariable
    return isinstance(tf_variables.unwrap(value), kinds)


def exclude_from_weight_decay(self: Any, var_list: Any = None, var_names: Any = None) -> None:
    """Excludes variables from weight decay. Also a keyword of the constructor.

    Args:
        var_list: variables; strings among them are taken as regular expressions.
        var_names: regular expressions that are searched for in variables' paths.

    Raises:
        ValueError: if the optimizer has seen variables already, and this excludes others.
    """
    rule = self._engine.rules[WeightDecay]
    for entries in (var_list, var_names):
        alone = isinstance(entries, str) or _is_variable(entries)
        for entry in [entries] if alone else entries if entries is not None else ():
            if rule.holds(entry):  # each replica that runs a user's function says it
                continue
            if self.built:
                raise ValueError(
                    f"`{KEYWORD}` must come before the optimizer sees variables; got {entry!r}."
                )
            rule.add(entry)


class WeightDecay(Policy):
    """Decoupled weight decay: x - learning_rate * weight_decay * x, except where it is off.

    It is part of the update, so it needs no extra pass over the weights.
    """

    weight_decay = Hyper(None, off=None, low=0, tracked=False)
    keywords = (KEYWORD,)
    can_be_off = ("weight_decay",)
    offers = {KEYWORD: exclude_from_weight_decay}
    factor_name = "decay_rate"

    @classmethod
    def check(cls, engine: Engine) -> None:
        """Raises if the optimizer does not support weight decay."""
        if engine.uses("weight_decay") and engine.optimizer.decays is None:
            raise ValueError(
                "`weight_decay` must be None: it would have no effect in "
                f"{type(engine.optimizer).__name__}; "
                f"got {engine.hypers['weight_decay'].config()}."
            )

    @classmethod
    def is_used_by(cls, engine: Engine) -> bool:
        """Returns whether `weight_decay` is set."""
        return engine.uses("weight_decay")

    @classmethod
    def rule(cls) -> Rule:
        """Returns the rule by which excluded variables do not decay."""
        return Excluded()

    @classmethod
    def configure(cls, engine: Engine, values: Mapping[str, Any]) -> None:
        """Takes the exclusions that the constructor was given."""
        if values.get(KEYWORD) is not None:
            engine.optimizer.exclude_from_weight_decay(values[KEYWORD])

    @classmethod
    def config(cls, engine: Engine) -> dict[str, Any]:
        """Returns the exclusions, for `get_config`."""
        rule = engine.rules.get(cls)
        patterns = rule.patterns() if isinstance(rule, Excluded) else []
        return {KEYWORD: patterns} if patterns else {}

    def change_scalars(self, step: Step, h: Any, group: Group) -> None:
        """Adds `decay_rate`, the part of the weights that decays, unless the group has it off."""
        off = any("weight_decay" in rule.off for rule in group)
        if self.engine.optimizer.decays == "own":
            if off:
                h.weight_decay = tf.zeros_like(h.weight_decay)
        elif not off:
            if not hasattr(h, "learning_rate"):
                raise ValueError(
                    "`weight_decay` is a part of the learning rate, which "
                    f"{type(self.engine.optimizer).__name__} does not have."
                )
            h.decay_rate = h.learning_rate * h.weight_decay

    @staticmethod
    def factor(update: Update, h: H) -> Any:
        """Returns the part of the weights that decays; None if they do not."""
        return h.get("decay_rate")

    @staticmethod
    def enter_update(factor: Any, g: Any, x: Any) -> tuple[Any, Any]:
        """Decays the weights."""
        return g, x - factor * x
