"""Weight decay, decoupled from the gradient, and the variables that it leaves alone."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfopt._engine.engine import Engine
from tfopt._engine.policy import Policy
from tfopt._engine.step_records import H, Step, Update
from tfopt._engine.variable_groups import Group, Rule
from tfopt._libraries import tf_variables
from tfopt._libraries.warnings import warn
from tfopt.hyper import Hyper

KEYWORD = "exclude_from_weight_decay"
RECORD = {"path", "position", "variables", "names"}  # of a variable, in a config


class Excluded(Rule):
    """The variables without weight decay: variables, layers, and regular expressions for paths.

    A config cannot hold variables. It records their paths, which shift from process to process if
    Keras made up the names, and their positions among the variables that the optimizer has seen.
    """

    def __init__(self) -> None:
        super().__init__(self._is_excluded, off=["weight_decay"])
        self._variables: dict[Any, Any] = {}  # by key
        self._layers: list[Any] = []
        self._patterns: list[str] = []
        self._recorded: list[Mapping[str, Any]] = []  # of a config, until they are seen
        self._has_seen = False  # any variables

    def copied(self) -> Excluded:
        """Returns a copy, to which other variables can be added."""
        twin = Excluded()
        twin._variables, twin._patterns = dict(self._variables), list(self._patterns)
        twin._layers, twin._recorded = list(self._layers), list(self._recorded)
        return twin

    def holds(self, entry: Any) -> bool:
        """Returns whether exactly this entry was added."""
        if isinstance(entry, str):
            return entry in self._patterns
        if any(entry is layer for layer in self._layers):
            return True
        return _is_variable(entry) and all(
            tf_variables.key(part) in self._variables for part in tf_variables.shards([entry])
        )

    def add(self, entry: Any) -> None:
        """Excludes a variable, those of a layer, or those whose paths match an expression."""
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
                self._variables[tf_variables.key(variable)] = variable
        elif isinstance(entry, Mapping) and entry.keys() == RECORD:
            self._recorded.append(entry)
        elif callable(entry) and isinstance(getattr(entry, "weights", None), list):
            self._layers.append(entry)  # it may have no variables yet
        else:
            raise TypeError(
                f"`{KEYWORD}` must hold variables, layers and regular expressions; got {entry!r}."
            )

    def prepare(self, variables: Sequence[Any]) -> None:
        """Finds what a config has recorded among variables that are seen for the first time.

        By path, if all variables have the names of that time. Else by position, if these are the
        first variables, and as many as then. Else each by path. A warning names those that are not
        among the first variables; they may still come.
        """
        first, self._has_seen = not self._has_seen, True
        paths = [tf_variables.variable_path(variable) for variable in variables]
        by_path, found, left = dict(zip(paths, variables, strict=True)), [], []
        for record in self._recorded:
            named_alike = record["names"] == _checksum(paths)
            if first and not named_alike and record["variables"] == len(paths):
                found.append(variables[record["position"]])
            elif record["path"] in by_path:
                found.append(by_path[record["path"]])
            else:
                left.append(record)
        self._recorded = left
        for variable in found:
            self.add(variable)
        if left and first:
            warn(
                f"`{KEYWORD}` was saved for {', '.join(record['path'] for record in left)}, which "
                f"are not among the variables {', '.join(paths)}: nothing is excluded for them."
            )

    def config(self, seen: Sequence[Any]) -> list[Any]:
        """Returns what a config holds: expressions, and records of variables.

        Args:
            seen: the variables that the optimizer has seen, in order.
        """
        paths = [tf_variables.variable_path(variable) for variable in seen]
        positions = {tf_variables.key(variable): n for n, variable in enumerate(seen)}
        variables = {k: tf_variables.variable_path(v) for k, v in self._all_variables().items()}
        records = [
            {
                "path": path,
                "position": positions[key],
                "variables": len(seen),
                "names": _checksum(paths),
            }
            for key, path in variables.items()
            if key in positions
        ]
        others = [path for key, path in variables.items() if key not in positions]
        exact = [f"^{re.escape(path)}$" for path in others]
        return [*self._patterns, *exact, *self._recorded, *records]

    def follow_copies(self, memo: Mapping[int, Any]) -> None:
        """Excludes the copies of what is excluded, also of the variables of layers."""
        for variable in list(self._all_variables().values()):
            twin = memo.get(id(tf_variables.unwrap(variable)))
            if twin is not None:
                self.add(twin)

    def _all_variables(self) -> dict[Any, Any]:
        """Returns the excluded variables and those of excluded layers, by key."""
        weights = tf_variables.shards(v for layer in self._layers for v in layer.weights)
        return {**self._variables, **{tf_variables.key(v): v for v in weights}}

    def _is_excluded(self, variable: Any) -> bool:
        if tf_variables.key(variable) in self._all_variables():
            return True
        path = tf_variables.variable_path(variable)
        return any(re.search(pattern, path) for pattern in self._patterns)


def _checksum(paths: Sequence[str]) -> int:
    return zlib.crc32("\n".join(paths).encode())


def _is_variable(value: Any) -> bool:
    kinds = tf.Variable | tf_variables.ShardedVariable
    return isinstance(tf_variables.unwrap(value), kinds)


def exclude_from_weight_decay(self: Any, var_list: Any = None, var_names: Any = None) -> None:
    """Excludes variables from weight decay. Also a keyword of the constructor.

    Args:
        var_list: variables and layers; strings among them are taken as regular expressions.
        var_names: regular expressions that are searched for in variables' paths.

    Raises:
        ValueError: if the optimizer has seen variables already, and this excludes others.
    """
    rule = self._engine.rules[WeightDecay]
    for entries in (var_list, var_names):
        alone = isinstance(entries, str) or _is_variable(entries) or hasattr(entries, "weights")
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
        seen = [engine.state.slots.original(v) for v in engine.state.variables()]
        excluded = rule.config(seen) if isinstance(rule, Excluded) else []
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
