"""Decoupled weight decay, and the variables that are excluded from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import tensorflow as tf

from tfopt._engine.engine import Engine
from tfopt._engine.members import Members, as_entries
from tfopt._engine.policy import Policy
from tfopt._engine.rules import Rule
from tfopt._engine.step_records import H, Step, Update
from tfopt._engine.variable_groups import Group
from tfopt._libraries.messages import shown
from tfopt.hyper import Hyper

KEYWORD = "exclude_from_weight_decay"


def exclude_from_weight_decay(self: Any, var_list: Any = None, var_names: Any = None) -> None:
    """Excludes variables from weight decay. Also a keyword of the constructor.

    Args:
        var_list: variables, layers, and functions that return for a variable whether it is
            excluded. Strings are taken as regular expressions.
        var_names: regular expressions that are searched for in variables' paths.

    Raises:
        ValueError: if the optimizer has seen variables already, and this excludes others.
    """
    rule = self._engine.groups.rules_of(WeightDecay)[0]  # the rules of others belong to their parts
    for entries in (var_list, var_names):
        for entry in [] if entries is None else as_entries(entries):
            if rule.members.holds(entry):  # each replica calls it in a user's function
                continue
            if self._engine.groups.seen():
                raise ValueError(
                    f"`{KEYWORD}` must come before the optimizer sees variables; "
                    f"got {shown(entry)}."
                )
            rule.members.add(entry)


class WeightDecay(Policy):
    """Decoupled weight decay: x - learning_rate * weight_decay * x, except where it is off.

    It is part of the update, so it needs no extra pass over the weights.
    """

    weight_decay = Hyper(None, off=None, low=0, tracked=False)
    keywords: ClassVar[Mapping[str, str]] = {KEYWORD: "Any"}
    by_group: ClassVar[Sequence[str]] = ("weight_decay",)
    offers: ClassVar[Mapping[str, Any]] = {KEYWORD: exclude_from_weight_decay}
    factor_name = "decay_rate"
    is_pure = True

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
    def rules(cls) -> list[Rule]:
        """Returns the rule by which excluded variables do not decay."""
        return [Rule(Members(KEYWORD), off=["weight_decay"], owner=cls)]

    @classmethod
    def configure(cls, engine: Engine, values: Mapping[str, Any]) -> None:
        """Takes the exclusions that the constructor was given."""
        if values.get(KEYWORD) is not None:
            engine.optimizer.exclude_from_weight_decay(values[KEYWORD])

    @classmethod
    def without_effect(cls, engine: Engine, given: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Returns the exclusions, if nothing decays: neither here nor in an optimizer inside."""
        rates = [v for n, v in engine.hypers.items() if n.rpartition(".")[2] == "weight_decay"]
        unused = bool(given.get(KEYWORD)) and not any(rate.active for rate in rates)
        return [(KEYWORD, "weight_decay")] if unused else []

    @classmethod
    def config(cls, engine: Engine) -> dict[str, Any]:
        """Returns the exclusions, for `get_config`."""
        rule = engine.groups.rules_of(WeightDecay)[0]
        excluded = rule.members.config(engine.groups.seen())
        return {KEYWORD: excluded} if excluded else {}

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
