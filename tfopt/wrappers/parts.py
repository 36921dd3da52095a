"""The engine and the policy of an optimizer that has others as its parts: `MultiOptimizer`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import tensorflow as tf

from tfopt import registry
from tfopt._engine.engine import Engine
from tfopt._engine.members import Members, as_entries, pairs
from tfopt._engine.rules import Rule
from tfopt._engine.step_records import Step
from tfopt._engine.variable_groups import Group
from tfopt._libraries import tensorflow_private, tf_variables
from tfopt._policies.roles import Roles
from tfopt._policies.weight_decay import WeightDecay
from tfopt.hyper import Hyper
from tfopt.optimizer import Optimizer

KEYWORD, DEFAULT = "optimizers", "default_optimizer"
OF_PARTS = {"weight_decay", "decay", "lazy"}  # what a part may have besides its own numbers


class PartsEngine(Engine):
    """The engine of an optimizer that has others as its parts: their formulas and numbers."""

    def __init__(self, *args: Any):
        self.parts: dict[str, Optimizer] = {}  # by role
        self.default_role: str | None = None
        super().__init__(*args)

    def take(self, parts: Mapping[str, Optimizer]) -> None:
        """Makes optimizers the parts of this one, which from now on takes their steps."""
        self.parts = dict(parts)
        for role, part in self.parts.items():
            engine = part._engine
            engine.state.part_of, engine.groups.part_of = self.state, self.groups
            engine.groups.is_role_of = True
            self.hypers.link(engine.hypers, f"{role}.")
            tensorflow_private.track(self.optimizer, part, role)
            for rule in engine.groups.rules_of(WeightDecay):
                rule.part = role
                self.groups.rules.append(rule)
        known = all(part._engine.declared.is_known for part in self.parts.values())
        self.declared = dataclasses.replace(self.declared, is_known=known)

    def release(self) -> None:
        """Makes the parts independent again, if the constructor failed."""
        for part in self.parts.values():
            engine = part._engine
            engine.state.part_of = engine.groups.part_of = None
            engine.groups.is_role_of = False

    def part(self, role: str) -> tuple[str, Optimizer, str]:
        """Returns the name of a part, the part, and the role that a variable has there."""
        name, _, inner = role.partition("/")
        return name, self.parts[name], inner

    def role(self, original: Any, given: str | None = None) -> str:
        """Returns the part of a variable, with the role that it has there, if there are roles."""
        part = self.optimizer.choose_role(original) if given is None else given
        inner = "" if "/" in part else self.parts[part]._engine.role(original)
        return f"{part}/{inner}" if inner else part

    def declared_state(self) -> Mapping[str, float]:
        """Returns the scalars that the parts declare."""
        states = {role: part._engine.declared_state() for role, part in self.parts.items()}
        return {f"{role}.{n}": first for role, own in states.items() for n, first in own.items()}

    def evaluated(self, x: Any, s: Any, h: Any) -> Any:
        """Returns the evaluation weights of a variable, as its part has them."""
        name, part, inner = self.part(h.role)
        own = {n.removeprefix(f"{name}."): v for n, v in vars(h).items()}
        return part._engine.evaluated(x, s, type(h)(**{**own, "role": inner}))

    def copy_for(self, optimizer: Any, memo: dict[int, Any]) -> Engine:
        """Returns the parts of a deep copy, still without slots."""
        twin = super().copy_for(optimizer, memo)
        assert isinstance(twin, PartsEngine)
        twin.groups.rules = [rule for rule in twin.groups.rules if rule.part is None]
        twin.take({role: copied(part, memo) for role, part in self.parts.items()})
        twin.default_role = self.default_role
        return twin


def _excludes(rule: Rule, role: str) -> bool:
    return "weight_decay" in rule.off and rule.part in (None, role)


class Parts(WeightDecay):
    """The policy of the parts: their members, and the weight decay of each."""

    weight_decay = None  # each part has one
    keywords: ClassVar[Mapping[str, str]] = {
        KEYWORD: "Any",
        DEFAULT: "Optimizer | str | Mapping[str, Any] | None",
    }
    offers: ClassVar[Mapping[str, Any]] = {}
    by_group: ClassVar[Sequence[str]] = ()
    configured_first = True

    @classmethod
    def check(cls, engine: Engine) -> None:
        """Does nothing: each part has checked itself."""

    @classmethod
    def is_used_by(cls, engine: Engine) -> bool:
        """Returns True."""
        return True

    @classmethod
    def rules(cls) -> list[Rule]:
        """Returns none: they come with the parts."""
        return []

    @classmethod
    def configure(cls, engine: Engine, values: Mapping[str, Any]) -> None:
        """Takes the optimizers that the constructor was given."""
        assert isinstance(engine, PartsEngine)
        chosen, default = _given(values.get(KEYWORD), values.get(DEFAULT))
        roles: dict[int, str] = {}
        parts: dict[str, Optimizer] = {}
        others = [part for _, part in chosen if part is not default]
        for part in [*others, *([] if default is None else [default])]:
            if id(part) not in roles:
                roles[id(part)] = role = _free_name(part.name, parts)
                parts[role] = part
        for members, part in chosen:
            own: dict[str, Any] = {"owner": cls, "partition": KEYWORD, "role": roles[id(part)]}
            engine.groups.add(Rule(Members(KEYWORD, as_entries(members)), **own))
        if not parts:
            raise ValueError(f"`{KEYWORD}` must hold an optimizer at least; got none.")
        engine.default_role = None if default is None else roles[id(default)]
        engine.take(parts)

    @classmethod
    def config(cls, engine: Engine) -> dict[str, Any]:
        """Returns the parts with their members, for `get_config`."""
        assert isinstance(engine, PartsEngine)
        seen, found = engine.groups.seen(), []
        for role, part in engine.parts.items():
            rules = [rule for rule in engine.groups.rules_of(cls) if rule.role == role]
            members = [entry for rule in rules for entry in rule.members.config(seen)]
            if role != engine.default_role:
                found.append({"members": members, "optimizer": registry.serialize(part)})
        if engine.default_role is None:
            return {KEYWORD: found}
        default = registry.serialize(engine.parts[engine.default_role])
        return {KEYWORD: found, DEFAULT: default}

    @classmethod
    def from_config(cls, value: Any, custom_objects: Mapping[str, Any] | None) -> Any:
        """Returns the optimizers of a config."""
        if isinstance(value, Mapping):
            return registry.deserialize(value, custom_objects)
        return [
            {**entry, "optimizer": registry.deserialize(entry["optimizer"], custom_objects)}
            for entry in value
        ]

    def change_scalars(self, step: Step, h: Any, group: Group) -> None:
        """Adds `decay_rate`, the part of the weights that decays, as the optimizer's part has it.

        Exclusions of a part hold for its own variables, those of the whole for all.
        """
        name, part, _ = self.engine.part(h.role)  # type: ignore[attr-defined]
        if not part.uses("weight_decay"):
            return
        off = any(_excludes(rule, name) for rule in group)
        if part.decays == "own":
            h.weight_decay = tf.zeros_like(h.weight_decay) if off else h.weight_decay
        elif not off:
            h.decay_rate = h.learning_rate * h.weight_decay


def _given(optimizers: Any, default: Any) -> tuple[list[tuple[Any, Optimizer]], Optimizer | None]:
    """Returns the members of each optimizer, and the default one, however they were given."""
    if hasattr(optimizers, DEFAULT):  # a map of tfopt or Keras 3, whose patterns match whole paths
        if default is not None:
            raise ValueError(
                f"`{DEFAULT}` must be None, since the map has one; got {default!r} and "
                f"{optimizers.default_optimizer!r}."
            )
        default = optimizers.default_optimizer
        optimizers = {f"^(?:{pattern})$": optimizers[pattern] for pattern in optimizers}
    chosen = [
        (given, checked(members, KEYWORD))  # as TensorFlow Addons has them
        if isinstance(members, Optimizer)
        else (members, checked(given, KEYWORD))
        for members, given in pairs(optimizers, KEYWORD, "optimizers")
    ]
    return chosen, None if default is None else checked(default, DEFAULT)


def checked(given: Any, keyword: str, allowed: Sequence[str] = ()) -> Optimizer:
    """Returns the optimizer that an identifier stands for, if another may take its steps."""
    part = registry.get(given)
    if not isinstance(part, Optimizer):
        raise TypeError(f"`{keyword}` must be of optimizers of tfopt; got {given!r}.")
    engine, declared = part._engine, part._declared
    if isinstance(engine, PartsEngine):
        raise ValueError(f"`{keyword}` must not have a MultiOptimizer; got {part!r}.")
    if declared.is_hooked or engine.groups.seen() or engine.state.part_of is not None:
        why = (
            "overrides hooks such as `resource_apply_dense`"
            if declared.is_hooked
            else "has seen variables already"
            if engine.groups.seen()
            else "is a part of another"
        )
        raise ValueError(f"`{keyword}` must not have an optimizer that {why}; got {part!r}.")
    used = [
        name
        for name, field in declared.fields.items()
        if name in declared.common - OF_PARTS
        and (engine.hypers[name].config() if isinstance(field, Hyper) else engine.statics[name])
        != field.default
    ]
    of_rules = {"groups": part.groups, "roles": engine.groups.rules_of(Roles)}
    used += [name for name, rules in of_rules.items() if rules and name not in allowed]
    if used:
        raise ValueError(
            f"`{used[0]}` must be given to the optimizer around `{keyword}`; got {part!r}."
        )
    return part


def _free_name(name: str, taken: Mapping[str, Any]) -> str:
    """Returns the name of a part in TensorFlow's characters, with a number if it is taken."""
    name = tf_variables.scope_name(name).replace("/", "_")
    names = (name, *(f"{name}_{n}" for n in range(1, len(taken) + 1)))
    return next(each for each in names if each not in taken)


def copied(part: Optimizer, memo: dict[int, Any]) -> Optimizer:
    """Returns a copy of a part, which has numbers but no state."""
    twin = object.__new__(type(part))
    memo[id(part)] = twin
    own = {name: value for name, value in vars(part).items() if name[:6] != "_self_"}
    twin.__dict__.update(own, _engine=part._engine.copy_for(twin, memo))
    return twin
