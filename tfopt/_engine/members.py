"""Sets of variables: the members of a group, given as variables, layers, functions or patterns.

A config cannot hold variables. It records their paths, which shift from process to process if
Keras made up the names, and their positions among the variables that the optimizer has seen.
"""

from __future__ import annotations

import copy
import difflib
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfopt._libraries import tf_variables
from tfopt._libraries.messages import shown
from tfopt._libraries.warnings import warn
from tfopt._state.matching import NAMED_AT_MOST, without_model

ONE = {"path"}  # how a config names a variable: by a path,
PLACED = {"path", "position", "variables", "names"}  # or by a path and its position
MORE = {"shape", "layers"}  # what records of the first versions lack
NAMED = {"function"}  # one of `FUNCTIONS`, in a config


def biases_and_norms(variable: Any) -> bool:
    """Returns whether a variable has at most one axis, as biases and the scales of norms have.

    Pass this function itself, not its result: as an entry of `exclude_from_weight_decay`, or as
    members in `groups`. A config keeps it.

    Args:
        variable: a variable of TensorFlow or Keras.

    Returns:
        A bool.

    >>> layer = tf.keras.layers.Dense(2)
    >>> layer.build((None, 3))
    >>> [tfopt.groups.biases_and_norms(v) for v in layer.trainable_variables]
    [False, True]
    >>> opt = tfopt.AdamW(exclude_from_weight_decay=tfopt.groups.biases_and_norms)
    """
    rank = tf.TensorShape(variable.shape).rank
    return rank is not None and rank <= 1


FUNCTIONS = {"biases_and_norms": biases_and_norms}  # the functions that a config can name


class Members:
    """A set of variables, of which some may not exist yet.

    Args:
        keyword: the keyword that they are given to, for messages.
        entries: the first entries.
    """

    def __init__(self, keyword: str, entries: Iterable[Any] = ()):
        self.keyword = keyword
        self._variables: dict[Any, Any] = {}  # by key
        self._layers: list[Any] = []
        self._functions: list[Any] = []
        self._patterns: list[str] = []
        self._recorded: list[Mapping[str, Any]] = []  # of a config, until they are seen
        for entry in entries:
            self.add(entry)

    def copied(self) -> Members:
        """Returns a copy, to which other variables can be added."""
        twin = copy.copy(self)
        for name, held in vars(self).items():
            setattr(twin, name, copy.copy(held))
        return twin

    def __repr__(self) -> str:
        variables = map(tf_variables.variable_path, self._variables.values())
        recorded = [record["path"] for record in self._recorded]
        others = [repr(e) for e in (*self._patterns, *self._layers, *self._functions)]
        entries = [*others, *(f"`{path}`" for path in (*variables, *recorded))]
        return entries[0] if len(entries) == 1 else f"[{', '.join(entries)}]"

    def add(self, entry: Any) -> None:
        """Adds a variable, those of a layer, or those that a function or a pattern selects."""
        if isinstance(entry, str):
            try:
                re.compile(entry)
            except re.error as error:
                raise ValueError(
                    f"`{self.keyword}` must hold regular expressions; got {entry!r}: {error}."
                ) from None
            self._patterns.append(entry)
        elif is_variable(entry):
            for variable in tf_variables.shards([entry]):
                self._variables[tf_variables.key(variable)] = variable
        elif isinstance(entry, Mapping) and entry.keys() - MORE in (ONE, PLACED):
            self._recorded.append(entry)
        elif isinstance(entry, Mapping) and entry.keys() == NAMED:
            self._functions.append(FUNCTIONS[entry["function"]])
        elif is_layer(entry):
            self._layers.append(entry)  # a layer may have no variables yet
        elif callable(entry) and not isinstance(entry, type):
            self._functions.append(entry)
        else:
            raise TypeError(
                f"`{self.keyword}` must hold variables, layers, regular expressions and "
                f"functions of a variable; got {shown(entry)}."
            )

    def holds(self, entry: Any) -> bool:
        """Returns whether exactly this entry was added."""
        if isinstance(entry, str):
            return entry in self._patterns
        if any(entry is other for other in (*self._layers, *self._functions)):
            return True
        return is_variable(entry) and all(
            tf_variables.key(part) in self._variables for part in tf_variables.shards([entry])
        )

    def test(self) -> Callable[[Any], bool]:
        """Returns a function that says whether a variable, as the user knows it, is a member."""
        known, patterns, functions = set(self._all_variables()), self._patterns, self._functions

        def covers(variable: Any) -> bool:
            if tf_variables.key(variable) in known:
                return True
            path = tf_variables.variable_path(variable)
            by_pattern = any(re.search(pattern, path) for pattern in patterns)
            return by_pattern or any(bool(function(variable)) for function in functions)

        return covers

    def entry_of(self, variable: Any) -> str:
        """Says which entry selects a variable, for messages; "" if the variable is the entry."""
        path = tf_variables.variable_path(variable)
        for pattern in self._patterns:
            if re.search(pattern, path):
                return repr(pattern)
        for function in self._functions:
            if function(variable):
                return str(getattr(function, "__name__", function))
        return "" if tf_variables.key(variable) in self._variables else "its layer"

    @property
    def are_objects(self) -> bool:
        """Whether variables or layers are among the entries, which match nothing but themselves."""
        return bool(self._variables or self._layers or self._recorded)

    def resolved(self, variables: Sequence[Any], first: bool) -> Members:
        """Returns the set, with what a config has recorded found among new variables.

        Args:
            variables: variables that are seen for the first time.
            first: whether no others were seen before.
        """
        if not self._recorded:
            return self
        twin, left = self.copied(), []
        paths = [tf_variables.variable_path(variable) for variable in variables]
        for record in self._recorded:
            found = _position(record, variables, paths, first)
            if found is None:
                left.append(record)
            else:
                twin.add(variables[found])
        twin._recorded = left
        return twin

    def warn_of_missing(self, variables: Sequence[Any], first: bool, lenient: bool) -> None:
        """Warns of members that are not among the new variables; they may still come.

        A variable that nobody had seen when it was saved, such as that of a frozen layer, is
        missed only when others come later.

        Args:
            variables: the new variables.
            first: whether no others were seen before.
            lenient: whether the patterns may be a list for models of many kinds. If one of them
                matches, another one is missed only if it looks misspelt.
        """
        paths = [tf_variables.variable_path(variable) for variable in variables]
        gone = [r["path"] for r in self._recorded if (PLACED <= r.keys()) is first]
        if gone:
            warn(
                f"`{self.keyword}` was saved for {_named(gone)}, which are not among the "
                f"variables {_named(paths)}: nothing is {_done(self.keyword)} for them."
            )
        unmatched = [p for p in self._patterns if not any(re.search(p, path) for path in paths)]
        if lenient:
            covers = self.test()
            left = [path for path, v in zip(paths, variables, strict=True) if not covers(v)]
            if len(left) < len(paths):
                parts = {part for path in left for part in path.split("/")}
                unmatched = [p for p in unmatched if difflib.get_close_matches(p, parts)]
        if unmatched and first:
            warn(
                f"`{self.keyword}` has {', '.join(map(repr, unmatched))}, which none of the "
                f"variables matches: {_named(paths)}. If its variables come later, such as those "
                "of a layer that is frozen until then, ignore this warning."
            )

    def config(self, seen: Sequence[Any]) -> list[Any]:
        """Returns what a config holds: expressions, and records of variables.

        Args:
            seen: the variables that the optimizer has seen, as the user knows them, in order.
        """
        paths = [tf_variables.variable_path(variable) for variable in seen]
        named = {function: name for name, function in FUNCTIONS.items()}
        own = [function for function in self._functions if function not in named]
        if not seen and (own or any(not _weights(layer) for layer in self._layers)):
            warn(
                f"`{self.keyword}` holds functions or layers without variables, and the optimizer "
                "has seen no variables yet: they are not in the config. Pass them again."
            )
        chosen = {
            tf_variables.key(v): v for v in seen if any(function(v) for function in own)
        } | self._all_variables()
        positions = {tf_variables.key(variable): n for n, variable in enumerate(seen)}
        placed = [
            {
                "path": paths[positions[key]],
                "position": positions[key],
                "variables": len(seen),
                "names": _checksum(paths),
                "layers": _checksum(sorted(without_model(paths))),
                "shape": list(variable.shape),
            }
            for key, variable in chosen.items()
            if key in positions
        ]
        others = {tf_variables.variable_path(v) for k, v in chosen.items() if k not in positions}
        records = [{"path": path} for path in sorted(others - {own["path"] for own in placed})]
        functions = [{"function": named[f]} for f in self._functions if f in named]
        return [*self._patterns, *functions, *self._recorded, *records, *placed]

    def follow_copies(self, memo: Mapping[int, Any]) -> None:
        """Adds the copies of what is in the set, also of the variables of layers."""
        self._layers += [memo[id(layer)] for layer in self._layers if id(layer) in memo]
        for variable in list(self._all_variables().values()):
            twin = memo.get(id(tf_variables.unwrap(variable)))
            if twin is not None:
                self.add(twin)

    def _all_variables(self) -> dict[Any, Any]:
        """Returns the variables, also those of layers, by key."""
        weights = tf_variables.shards(v for layer in self._layers for v in _weights(layer))
        return {**self._variables, **{tf_variables.key(v): v for v in weights}}


def as_entries(given: Any) -> list[Any]:
    """Returns what a user gave as a list. A single entry need not be in a list."""
    alone = isinstance(given, str | Mapping) or is_variable(given) or is_layer(given)
    if alone or callable(given) or not isinstance(given, Iterable):
        return [given]
    return list(given)


def pairs(given: Any, keyword: str, what: str) -> list[tuple[Any, Any]]:
    """Returns pairs of members and what they are given, from a mapping, a list or a config.

    Args:
        given: what the user passed.
        keyword: the keyword, for messages.
        what: what members are given, in the plural; a config has it in the singular.
    """
    if isinstance(given, Mapping):
        return list(given.items())
    if given is not None and not isinstance(given, tuple | list):
        raise TypeError(
            f"`{keyword}` must map members to {what}, or be a list of such pairs; "
            f"got {shown(given)}."
        )
    found = []
    for pair in given or ():
        if isinstance(pair, Mapping) and pair.keys() == {"members", what.removesuffix("s")}:
            found.append((pair["members"], pair[what.removesuffix("s")]))
        elif isinstance(pair, tuple | list) and len(pair) == 2:
            found.append((pair[0], pair[1]))
        else:
            raise TypeError(
                f"`{keyword}` must map members to {what}, or be a list of such pairs; "
                f"got {shown(pair)}."
            )
    return found


def is_variable(value: Any) -> bool:
    """Returns whether a value is a variable of TensorFlow or of Keras."""
    kinds = tf.Variable | tf_variables.ShardedVariable
    return isinstance(tf_variables.unwrap(value), kinds)


def is_layer(value: Any) -> bool:
    """Returns whether a value is a layer or a model, which may have no variables yet."""
    return callable(value) and hasattr(type(value), "weights") and not is_variable(value)


def _weights(layer: Any) -> list[Any]:
    try:
        return list(layer.weights)
    except ValueError:  # a model of tf-keras that is not built yet
        return []


def _position(
    record: Mapping[str, Any], variables: Sequence[Any], paths: Sequence[str], first: bool
) -> int | None:
    """Returns which of some new variables a config has recorded; None if it is none of them.

    It goes by position if these are the first variables, and as many as were saved, unless the
    layers have the saved names in another order. Otherwise it goes by path, with or without the
    name of the model.
    """
    if first and record.get("variables") == len(paths):
        inside = without_model(paths)
        found = [n for n, path in enumerate(inside) if path in _both_paths(record["path"])]
        moved = record["names"] != _checksum(paths)
        if moved and record.get("layers") == _checksum(sorted(inside)) and len(found) == 1:
            return found[0]
        place = int(record["position"])
        if record.get("shape") in (None, list(variables[place].shape)):
            return place
    exact = [n for n, path in enumerate(paths) if path == record["path"]]
    alike = [n for n, p in enumerate(paths) if _both_paths(p) & _both_paths(record["path"])]
    return next((found[0] for found in (exact, alike) if len(found) == 1), None)


def _both_paths(path: str) -> set[str]:
    """Returns a path with and without what may be the name of a model."""
    parts = path.split("/")
    return {path, "/".join(parts[1:])} if len(parts) > 2 else {path}


def _named(paths: Sequence[str]) -> str:
    more = len(paths) - NAMED_AT_MOST
    return ", ".join(paths[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def _done(keyword: str) -> str:
    return "excluded" if "exclude" in keyword else "different"


def _checksum(paths: Sequence[str]) -> int:
    return zlib.crc32("\n".join(paths).encode())
