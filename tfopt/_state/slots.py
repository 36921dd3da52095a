"""Slot variables, such as moments: created with their variable, found by it, saved with it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import tensorflow as tf

from tfopt._libraries import dtensor, tensorflow_private, tf_variables
from tfopt._state import tables
from tfopt._state.restored_slots import RestoredSlots, check_shape
from tfopt._state.weight_order import Entry
from tfopt._values.cells_and_codecs import IDENTITY, VALUE, Cell, Codec
from tfopt._values.initial_values import Initial, Kept, zeros


class Slots:
    """The slot variables of one optimizer.

    This is a plain object, so that neither `tf.Module` nor checkpoints reach the slots as
    attributes: checkpoints save them by the slot-variable protocol, by variable.

    Args:
        optimizer: the name of the optimizer, with which names of slots begin.
        kept: the slots of policies, by name; they are the last in `weights`.
        split_over: returns the dimension of a DTensor mesh over which slots are split, or None.
    """

    def __init__(
        self, optimizer: str, kept: Mapping[str, Kept], split_over: Callable[[], str | None]
    ) -> None:
        self.kept, self._optimizer, self._split_over = kept, optimizer, split_over
        self._by_key: dict[Any, dict[str, Any]] = {}
        # Codecs that are not the identity; with each, whether the value has the variable's rows.
        self._codecs: dict[Any, dict[str, tuple[Codec, bool]]] = {}
        self.names: list[str] = []  # slot names, as first created
        self.variables: dict[Any, Any] = {}  # the variables seen, by key, in order
        self._ids: frozenset[int] = frozenset()  # the ids of these variables
        self.blocks: list[list[Any]] = []  # the variables seen, in the sets that were seen together
        self._paths: dict[Any, str] = {}
        self._owners: dict[Any, Any] = {}  # the variables that have slots, by key
        self._ordered: list[Any] = []  # slots in the order of `weights`
        self.restored = RestoredSlots()  # what checkpoints brought before it was asked for
        self._sharded: dict[tuple[str, Any], Any] = {}  # the slots of all shards as one
        self._unique = tf_variables.Names()
        self._late: list[tuple[Any, str]] = []  # slots that are to copy their variable
        self._firsts: dict[Any, Any] = {}  # first values, or functions; None for a copy
        self._originals: dict[Any, Any] = {}  # the variables as the user knows them

    def copy_late(self) -> None:
        """Copies variables that have a value by now; in the first trace they had none."""
        with tf.init_scope():
            late = [(v, name) for v, name in self._late if v.is_initialized()]
            self._late = [(v, n) for v, n in self._late if not any(v is x for x, _ in late)]
            for variable, name in late:
                slot = self.get(variable, name)
                tf_variables.assign_all([(slot, variable.read_value())])

    def restart(self, entries: Sequence[Entry]) -> None:
        """Gives slots their first values; those that copy their variables do so at the next use."""
        keys = {path: key for key, path in self._paths.items()}
        firsts = [self._firsts[keys[entry.path], entry.slot] for entry in entries]
        pairs = list(zip(entries, firsts, strict=True))
        self._late += [(self._owners[keys[e.path]], e.slot) for e, first in pairs if first is None]
        made = [(e, f() if callable(f) else f) for e, f in pairs if f is not None]
        values = tf_variables.evaluate([value for _, value in made])
        tf_variables.assign_all([(e.value, v) for (e, _), v in zip(made, values, strict=True)])

    @property
    def has_late(self) -> bool:
        """Whether slots still wait for the values of their variables."""
        return bool(self._late)

    def forget_late(self) -> None:
        """Forgets the copies that are still to be made: the slots have other values."""
        self._late = []

    def original(self, variable: Any) -> Any:
        """Returns the variable as the user knows it, which may have a constraint."""
        return self._originals[tf_variables.key(variable)]

    # --- variables that were seen -----------------------------------------------------------------

    def keep(self, variables: dict[Any, Any]) -> None:
        """Adds variables, by key, to those seen."""
        self.variables = {**self.variables, **variables}
        self._ids = self._ids.union(map(id, variables.values()))

    def knows(self, variables: Iterable[Any]) -> bool:
        """Returns whether all of these objects were seen. If False, they may be copies of such."""
        return bool(self._ids) and self._ids.issuperset(map(id, variables))

    def block_of(self, variables: Iterable[Any]) -> list[Any]:
        """Returns the block with the earliest of these variables."""
        keys = {tf_variables.key(variable) for variable in variables}
        return next(b for b in self.blocks if any(tf_variables.key(v) in keys for v in b))

    def note_paths(self, variables: Iterable[Any]) -> None:
        """Keeps the paths of variables, as the user knows them, and makes them unique."""
        for variable in variables:
            key = tf_variables.key(variable)
            if key not in self._paths:
                self._paths[key] = self._unique.unique(tf_variables.variable_path(variable))
                self._originals[key] = variable

    # --- slots that there are ---------------------------------------------------------------------

    def get(self, variable: Any, name: str) -> Any:
        """Returns the slot, or None."""
        if isinstance(variable, tf_variables.ShardedVariable):
            return self._get_sharded(variable, name)
        return self._by_key.get(tf_variables.key(variable), {}).get(name)

    def _get_sharded(self, variable: Any, name: str) -> Any:
        """Returns the slots of all shards as one, for checkpoints; None if some are missing."""
        parts = [self.get(shard, name) for shard in variable.variables]
        if any(part is None for part in parts):
            return None
        key = (name, tf_variables.key(variable))
        known = self._sharded.get(key)
        if known is None or any(a is not b for a, b in zip(known.variables, parts, strict=True)):
            known = self._sharded[key] = tf_variables.ShardedVariable(parts, name=name)
        return known

    def of(self, variable: Any) -> dict[str, Any]:
        """Returns all slots of a variable by name."""
        return self._by_key.get(tf_variables.key(variable), {})

    def cells(self, variable: Any) -> dict[str, Cell]:
        """Returns all cells of a variable by name: its slots, and its value under `VALUE`."""
        key = tf_variables.key(variable)
        slots, codecs = self._by_key.get(key, {}), self._codecs.get(key, {})
        parts = {
            name: [name, *(name + suffix for suffix in codec.suffixes[1:])]
            for name, (codec, _) in codecs.items()
        }
        others = {part for names in parts.values() for part in names[1:]}
        cells = {VALUE: Cell((variable,))}
        for name, slot in slots.items():
            if name not in others:
                cells[name] = Cell((slot,), IDENTITY, _has_rows(slot.shape, variable))
        for name, names in parts.items():
            rest = tuple(slots[part] for part in names[1:])
            cells[name] = Cell((*cells[name].parts, *rest), *codecs[name])
        return cells

    def entries(self, start: int = 0) -> list[Entry]:
        """Returns the slots that have a place in `weights`, as they were created, from `start`."""
        return self._as_entries(self._ordered[start:])

    def early_entries(self, unseen: bool = False) -> list[Entry]:
        """Returns the slots that a checkpoint created, and nothing has asked for yet.

        Args:
            unseen: whether to leave out those of variables that were seen: nothing will ask.
        """
        seen = {self._paths[key] for key in self.variables} if unseen else ()
        return [e for e in self._as_entries(self.restored.early) if e.path not in seen]

    def early_owners(self) -> list[Any]:
        """Returns the variables that have slots and were not seen."""
        return [v for key, v in self._owners.items() if key not in self.variables]

    def entries_of(self, variables: Iterable[Any]) -> list[Entry]:
        """Returns the slots of some variables, as they were created."""
        paths = {self._paths[tf_variables.key(variable)] for variable in variables}
        return [entry for entry in self.entries() if entry.path in paths]

    def unclaimed(self) -> list[str]:
        """Returns names of slots in checkpoints that the optimizer does not have; each once."""
        return self.restored.unclaimed(self._by_key, self.variables) if self.restored else []

    def _as_entries(self, slots: Iterable[Any]) -> list[Entry]:
        where = {
            id(slot): (self._paths[key], name)
            for key, slots_of_one in self._by_key.items()
            for name, slot in slots_of_one.items()
        }
        return [Entry(*where[id(slot)], slot) for slot in slots]

    # --- slots that are made ----------------------------------------------------------------------

    def count(self) -> int:
        """Returns how many slots have a place in `weights`."""
        return len(self._ordered)

    def mark(self) -> Any:
        """Returns a copy of the present tables, for `reset`."""
        return tables.copied(vars(self)), self._unique.copied(), self.restored.copied()

    def reset(self, mark: Any) -> None:
        """Goes back to the tables of a `mark`."""
        own, self._unique, self.restored = mark
        vars(self).update(own)

    def declare(self, variable: Any, name: str, initial: Any) -> None:
        """Creates the slot `name` from an `Initial` or a value, if it is not there yet."""
        codec = initial.codec if isinstance(initial, Initial) else None
        if codec is not None:
            self._declare_parts(variable, name, initial, codec)
            return
        dtype = self.dtype_of(variable, name)
        if isinstance(initial, Initial):
            if initial.copies:
                self._firsts[tf_variables.key(variable), name] = None
            if initial.copies and not tf_variables.is_there(variable):
                if self.get(variable, name) is None:
                    self._late.append((variable, name))
                initial = zeros(variable)
            shape = initial.shape(variable.shape)
            initial = functools.partial(initial.make, variable, dtype)
        else:
            with tf.init_scope():
                initial = tf.convert_to_tensor(initial)
            dtype, shape = initial.dtype, initial.shape
        self.add(variable, name, initial, dtype, shape)

    def _declare_parts(self, variable: Any, name: str, initial: Initial, codec: Codec) -> None:
        with tf.init_scope():
            encoded = codec.encode(initial.make(variable, self.dtype_of(variable, name)))
        for suffix, part in zip(codec.suffixes, encoded, strict=True):
            self.add(variable, name + suffix, part, part.dtype, part.shape)
        self._code(variable, name, codec, _has_rows(initial.shape(variable.shape), variable))

    def declare_value(self, variable: Any, codec: Codec) -> None:
        """Creates the slots that a codec needs, besides the variable itself, to store its value."""
        wide = tf_variables.compute_dtype(variable.dtype)
        for number, suffix in enumerate(codec.suffixes[1:], 1):

            def make(variable: Any, dtype: Any, number: int = number) -> Any:
                value = tf.cast(tf_variables.first_value(variable), wide)
                return codec.encode(value)[number]

            self.declare(variable, suffix, Initial(make, copies=True))
        self._code(variable, VALUE, codec, True)

    def _code(self, variable: Any, name: str, codec: Codec, rowed: bool) -> None:
        self._codecs.setdefault(tf_variables.key(variable), {})[name] = codec, rowed

    def add(self, variable: Any, name: str, initial: Any, dtype: Any, shape: Any) -> Any:
        """Returns the slot `name` of `variable`; creates it if it does not exist.

        `initial` is a function without arguments, or a value.
        """
        self.note_paths([variable])
        variable = tf_variables.unwrap(variable)
        slot = self.get(variable, name)
        self._firsts.setdefault((tf_variables.key(variable), name), initial)
        if slot is None:
            slot = self._create(variable, name, initial, dtype, shape)
            for owner in (variable, tensorflow_private.sharded_variable(variable)):
                found, key = self.get(owner, name), tf_variables.key(owner)
                taken = self.restored.take_positions(name, key) if found is not None else ()
                for position in taken:
                    position.restore(found)
                    self.forget_late()
            self._ordered.append(slot)
        elif any(slot is early for early in self.restored.early):
            check_shape(tf_variables.variable_path(variable), name, shape, slot.shape)
            self.restored.claim(slot)
            self._ordered.append(slot)
        return slot

    def restore(self, variable: Any, name: str, position: Any, dtype: Any) -> Any:
        """Returns the slot for which a checkpoint has a value; None to wait until it is created.

        Args:
            variable: the variable of the slot.
            name: the name of the slot.
            position: its place in the checkpoint.
            dtype: the dtype that the slot will have; None if only its creation can tell.
        """
        self.note_paths(tf_variables.shards([variable]))
        variable = tf_variables.unwrap(variable)
        slot = self.get(variable, name)
        if slot is not None:
            # TensorFlow asks for all slots before it restores anything.
            path = tf_variables.variable_path(variable)
            check_shape(path, name, slot.shape, position.value_shape())
            return slot
        sharded = isinstance(variable, tf_variables.ShardedVariable)
        simple = tf.executing_eagerly() and position.is_simple_variable()
        if sharded or not simple or dtype is None:
            self.restored.defer(name, tf_variables.key(variable), position)
            return None
        shape = position.value_shape()
        initial = functools.partial(tf.zeros, shape, dtype)
        slot = self._create(variable, name, initial, dtype, shape)
        self.restored.early.append(slot)
        return slot

    def dtype_of(self, variable: Any, name: str) -> tf.DType:
        """Returns the dtype of a declared slot."""
        dtype = self.kept[name].dtype if name in self.kept else None
        return dtype or tf_variables.compute_dtype(variable.dtype)

    def _create(self, variable: Any, name: str, initial: Any, dtype: Any, shape: Any) -> Any:
        if name not in self.names:
            self.names.append(name)
        full_name = f"{self._optimizer}/{self._paths[tf_variables.key(variable)]}/{name}"
        with tf.init_scope(), tf_variables.placed_like(variable):
            layout = dtensor.layout_of_slot(variable, shape, self._split_over())
            kwargs = self._replication(name)
            slot = tf_variables.create(initial, full_name, dtype, shape, layout, **kwargs)
        self._by_key.setdefault(tf_variables.key(variable), {})[name] = slot
        self._owners[tf_variables.key(variable)] = variable
        return slot

    def _replication(self, name: str) -> dict[str, Any]:
        """Returns how replicas keep a slot: like its variable, or each replica its own."""
        if name not in self.kept or not self.kept[name].per_replica:
            return {}
        return {
            "synchronization": tf.VariableSynchronization.ON_READ,
            "aggregation": tf.VariableAggregation.SUM,
        }

    # --- copies -----------------------------------------------------------------------------------

    def copied(self, memo: dict[int, Any]) -> Slots:
        """Returns deep copies of the slots, for the same variables."""
        twin = Slots(self._optimizer, self.kept, self._split_over)
        for key, slots in self._by_key.items():
            twin._by_key[key] = {name: deepcopy(slot, memo) for name, slot in slots.items()}
        twin._ordered = [memo[id(slot)] for slot in self._ordered]
        twin.restored.early = [memo[id(slot)] for slot in self.restored.early]
        twin.names, twin._owners = list(self.names), dict(self._owners)
        twin._paths, twin._unique = dict(self._paths), deepcopy(self._unique)
        twin.keep(self.variables)
        return twin

    def move(self, memo: dict[int, Any]) -> None:
        """Gives the slots to the copies of their variables that a deep copy made."""
        owners = {**self._owners, **self.variables}
        owners = {key: memo.get(id(variable), variable) for key, variable in owners.items()}
        moved = {key: tf_variables.key(variable) for key, variable in owners.items()}
        self._by_key = {moved[key]: slots for key, slots in self._by_key.items()}
        self._paths = {moved[key]: p for key, p in self._paths.items() if key in moved}
        self._owners = {moved[key]: owners[key] for key in self._owners}
        seen = {moved[key]: owners[key] for key in self.variables}
        self.variables, self._ids = {}, frozenset()
        self.keep(seen)


def _has_rows(shape: Any, variable: Any) -> bool:
    return bool(shape.rank) and shape[0] == variable.shape[0]
