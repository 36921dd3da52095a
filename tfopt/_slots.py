"""Slot variables: created beside their variable, found by it, saved with it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from typing import Any, NamedTuple

import tensorflow as tf

from tfopt import _variables


class Policy(NamedTuple):
    """A slot that belongs to a policy of the step, such as averages, not to the formula."""

    dtype: tf.DType | None = None  # that of arithmetic by default
    per_replica: bool = False  # whether each replica has its own, and all of them add up


# Last in `weights`; the names are not for optimizers' own slots.
POLICIES = {
    "master_weight": Policy(),
    "ema_average": Policy(),
    "ema_step": Policy(tf.int64),
    "accumulated_gradient": Policy(per_replica=True),
    "accumulated_rows": Policy(tf.float32, per_replica=True),
    "micro_steps": Policy(tf.int64),
}


class Initial(NamedTuple):
    """How a declared slot starts: `make(variable, dtype)` gives its first value."""

    make: Callable[[Any, Any], Any]
    shape: Callable[[Any], Any] = lambda shape: shape  # of that of the variable
    copies: bool = False  # whether it needs the variable's value


def full(x: Any, value: Any) -> Initial:
    """A slot of the shape of `x` that starts at `value` everywhere."""
    del x  # part of the notation; the shape is that of the variable at creation
    return Initial(lambda variable, dtype: tf.fill(_shape(variable), _constant(value, dtype)))


def zeros(x: Any, axis: int | None = None) -> Initial:
    """A slot that starts at zero, of the shape of `x`, or that of its means over `axis`."""
    del x
    shape = functools.partial(_without, axis=axis)
    return Initial(lambda variable, dtype: tf.zeros(shape(_shape(variable)), dtype), shape)


def per_row(value: Any) -> Initial:
    """A slot with a number for each row of the variable, which starts at `value`."""

    def make(variable: Any, dtype: Any) -> Any:
        return tf.fill(_shape(variable)[:1], _constant(value, dtype))

    return Initial(make, lambda shape: shape[:1])


def copy(x: Any) -> Initial:
    """A slot that starts as a copy of `x`."""
    del x
    return Initial(
        lambda variable, dtype: tf.cast(_variables.first_value(variable), dtype), copies=True
    )


def _without(shape: Any, axis: int | None) -> Any:
    """A shape, static or not, without one of its axes."""
    if axis is None:
        return shape
    before, after = shape[:axis], shape[axis:][1:]
    return before + after if isinstance(shape, tf.TensorShape) else tf.concat([before, after], 0)


def _constant(value: Any, dtype: Any) -> Any:
    # `tf.cast` would round a Python number to float32 on its way to float64.
    return tf.cast(value, dtype) if tf.is_tensor(value) else tf.constant(value, dtype)


def _shape(variable: Any) -> Any:
    """The static shape if it is whole, else the one the variable has now."""
    return variable.shape if variable.shape.is_fully_defined() else tf.shape(variable)


def _check_shape(variable: Any, name: str, shape: Any, given: Any) -> None:
    if not tf.TensorShape(shape).is_compatible_with(given):
        raise ValueError(
            f"The checkpoint must have shape {shape} for slot `{name}` of "
            f"`{_variables.path(variable)}`; got {tf.TensorShape(given)}."
        )


class Slots:
    """The slot variables of one optimizer.

    A plain object, so that neither `tf.Module` nor checkpoints reach the slots as
    attributes: they are saved by the slot-variable protocol, keyed by variable.
    """

    def __init__(self, split_over: Callable[[], str | None]) -> None:
        self._split_over = split_over  # gives the dimension of a DTensor mesh, or None
        self._by_key: dict[Any, dict[str, Any]] = {}
        self.names: list[str] = []  # slot names, as first created
        self.variables: dict[Any, Any] = {}  # the variables seen, by key, in order
        self._ids: set[int] = set()  # theirs: no other object can have them
        self.blocks: list[list[Any]] = []  # the same, as sets of them turned up
        self._paths: dict[Any, str] = {}
        self._owners: dict[Any, Any] = {}  # the variables that have slots, by key
        self._ordered: list[Any] = []  # slots in the order of `weights`
        self._restored: list[Any] = []  # slots a checkpoint made before their turn
        self._sharded: dict[tuple[str, Any], Any] = {}  # what slots of shards are together
        self._deferred: dict[tuple[str, Any], list[Any]] = {}
        self._unique = _variables.Names()
        self._late: list[tuple[Any, str]] = []  # copies of variables that had no value yet
        self._given: dict[Any, Any] = {}  # the variables as the user knows them

    def copy_late(self) -> None:
        """Copies variables that have a value now: a first `tf.function` is traced twice."""
        late, self._late = self._late, []
        for variable, name in late:
            with tf.init_scope():
                slot = self.get(variable, name)
                slot.assign(tf.cast(variable.read_value(), slot.dtype))

    def copy_nothing_late(self) -> None:
        """Forgets about that: the slots have values from elsewhere."""
        self._late = []

    def given(self, variable: Any) -> Any:
        """The variable as the user knows it: with a constraint, perhaps."""
        return self._given[_variables.key(variable)]

    def __iter__(self) -> Iterator[Any]:
        """All slots, in the order of `weights`."""
        policies = {id(slot) for by_name in self._by_key.values() for slot in _policies(by_name)}
        yield from sorted([*self._ordered, *self._restored], key=lambda slot: id(slot) in policies)

    def keep(self, variables: dict[Any, Any]) -> None:
        """Notes variables, by key, as seen."""
        self.variables.update(variables)
        self._ids.update(map(id, variables.values()))

    def knows(self, variables: Iterable[Any]) -> bool:
        """Whether all of these objects were seen; False says little, as there may be copies."""
        return bool(self._ids) and self._ids.issuperset(map(id, variables))

    def count(self) -> int:
        """How many slots have their place in `weights`."""
        return len(self._ordered)

    def forget_from(self, start: int) -> None:
        """Drops the slots placed since there were `start` of them."""
        dropped = {id(slot) for slot in self._ordered[start:]}
        del self._ordered[start:]
        for by_name in self._by_key.values():
            for name in [name for name, slot in by_name.items() if id(slot) in dropped]:
                del by_name[name]

    def get(self, variable: Any, name: str) -> Any:
        """The slot, or None."""
        if isinstance(variable, _variables.ShardedVariable):
            return self._get_sharded(variable, name)
        return self._by_key.get(_variables.key(variable), {}).get(name)

    def block_of(self, variables: Iterable[Any]) -> list[Any]:
        """The variables that turned up with the earliest of these."""
        keys = {_variables.key(variable) for variable in variables}
        return next(b for b in self.blocks if any(_variables.key(v) in keys for v in b))

    def _get_sharded(self, variable: Any, name: str) -> Any:
        """The slots of all shards as one, which checkpoints save; None if some are missing."""
        parts = [self.get(shard, name) for shard in variable.variables]
        if any(part is None for part in parts):
            return None
        key = (name, _variables.key(variable))
        known = self._sharded.get(key)
        if known is None or any(a is not b for a, b in zip(known.variables, parts, strict=True)):
            self._sharded[key] = _variables.ShardedVariable(parts, name=name)
        return self._sharded[key]

    def name(self, variables: Iterable[Any]) -> None:
        """Notes the paths of variables as the user knows them, made unique."""
        for variable in variables:
            key = _variables.key(variable)
            if key not in self._paths:
                self._paths[key] = self._unique.unique(_variables.path(variable))
                self._given[key] = variable

    def of(self, variable: Any) -> dict[str, Any]:
        """All slots of a variable by name."""
        return self._by_key.get(_variables.key(variable), {})

    def items(self, start: int = 0) -> list[tuple[str, str, Any]]:
        """(path of the variable, slot name, slot), in the order of `weights` from `start`."""
        where = {
            id(slot): (self._paths[key], name)
            for key, slots in self._by_key.items()
            for name, slot in slots.items()
        }
        items = [(*where[id(slot)], slot) for slot in self._ordered[start:]]
        return sorted(items, key=lambda item: item[1] in POLICIES)

    def items_of(self, variables: Iterable[Any]) -> list[tuple[str, str, Any]]:
        """The same for the slots of some variables."""
        paths = {self._paths[_variables.key(variable)] for variable in variables}
        return [item for item in self.items() if item[0] in paths]

    def declare(self, variable: Any, name: str, initial: Any) -> Any:
        """The slot `name` of `variable`, created from an `Initial` or a value."""
        dtype = dtype_of(variable, name)
        if isinstance(initial, Initial):
            if initial.copies and not _variables.is_there(variable):
                if self.get(variable, name) is None:
                    self._late.append((variable, name))
                initial = zeros(variable)
            shape = initial.shape(variable.shape)
            initial = functools.partial(initial.make, variable, dtype)
        else:
            with tf.init_scope():
                initial = tf.convert_to_tensor(initial)
            dtype, shape = initial.dtype, initial.shape
        return self.add(variable, name, initial, dtype, shape)

    def add(self, variable: Any, name: str, initial: Any, dtype: Any, shape: Any) -> Any:
        """The slot `name` of `variable`, created if it is not there yet.

        `initial` is a function of nothing, or a value.
        """
        self.name([variable])
        variable = _variables.unwrap(variable)
        slot = self.get(variable, name)
        if slot is None:
            slot = self._create(variable, name, initial, dtype, shape)
            for owner in (variable, _variables.whole(variable)):
                found = self.get(owner, name)
                for position in self._take_deferred(owner, name) if found is not None else ():
                    position.restore(found)
                    self.copy_nothing_late()
            self._ordered.append(slot)
        elif any(slot is early for early in self._restored):
            _check_shape(variable, name, shape, slot.shape)
            self._restored = [early for early in self._restored if early is not slot]
            self._ordered.append(slot)
        return slot

    def restore(self, variable: Any, name: str, position: Any, dtype: Any = None) -> Any:
        """The slot a checkpoint holds a value for, or None to wait until it is created."""
        self.name(_variables.shards([variable]))
        variable = _variables.unwrap(variable)
        slot = self.get(variable, name)
        if slot is not None:
            # TensorFlow asks for all slots before it restores anything.
            _check_shape(variable, name, slot.shape, position.value_shape())
            return slot
        sharded = isinstance(variable, _variables.ShardedVariable)
        if sharded or not tf.executing_eagerly() or not position.is_simple_variable():
            self._deferred.setdefault((name, _variables.key(variable)), []).append(position)
            return None
        shape, dtype = position.value_shape(), dtype or dtype_of(variable, name)
        initial = functools.partial(tf.zeros, shape, dtype)
        slot = self._create(variable, name, initial, dtype, shape)
        self._restored.append(slot)
        return slot

    def _create(self, variable: Any, name: str, initial: Any, dtype: Any, shape: Any) -> Any:
        if name not in self.names:
            self.names.append(name)
        full_name = f"{self._paths[_variables.key(variable)]}/{name}"
        with tf.init_scope(), _variables.beside(variable):
            layout = _variables.layout_of(variable, shape, self._split_over())
            kwargs = _replication(name)
            slot = _variables.create(initial, full_name, dtype, shape, layout, **kwargs)
        self._by_key.setdefault(_variables.key(variable), {})[name] = slot
        self._owners[_variables.key(variable)] = variable
        return slot

    def copied(self, memo: dict[int, Any]) -> Slots:
        """Deep copies of the slots, for the same variables."""
        twin = Slots(self._split_over)
        for key, slots in self._by_key.items():
            twin._by_key[key] = {name: deepcopy(slot, memo) for name, slot in slots.items()}
        twin._ordered = [memo[id(slot)] for slot in self._ordered]
        twin._restored = [memo[id(slot)] for slot in self._restored]
        twin.names, twin._owners = list(self.names), dict(self._owners)
        twin._paths, twin._unique = dict(self._paths), deepcopy(self._unique)
        twin.keep(self.variables)
        return twin

    def move(self, memo: dict[int, Any]) -> None:
        """Hands the slots over to the copies of their variables that a deep copy made."""
        owners = {**self._owners, **self.variables}
        owners = {key: memo.get(id(variable), variable) for key, variable in owners.items()}
        moved = {key: _variables.key(variable) for key, variable in owners.items()}
        self._by_key = {moved[key]: slots for key, slots in self._by_key.items()}
        self._paths = {moved[key]: p for key, p in self._paths.items() if key in moved}
        self._owners = {moved[key]: owners[key] for key in self._owners}
        seen = {moved[key]: owners[key] for key in self.variables}
        self.variables, self._ids = {}, set()
        self.keep(seen)

    def _take_deferred(self, variable: Any, name: str) -> list[Any]:
        """Checkpoint positions that waited for this slot, the newest last."""
        waiting = self._deferred.pop((name, _variables.key(variable)), [])
        return sorted(waiting, key=lambda position: position.restore_uid)


def _policies(by_name: dict[str, Any]) -> list[Any]:
    """The slots of policies among those of a variable."""
    return [slot for name, slot in by_name.items() if name in POLICIES]


def dtype_of(variable: Any, name: str) -> tf.DType:
    """The dtype of a declared slot."""
    dtype = POLICIES[name].dtype if name in POLICIES else None
    return dtype or _variables.compute_dtype(variable.dtype)


def _replication(name: str) -> dict[str, Any]:
    """How replicas keep a slot: as they keep its variable, or each its own."""
    if name not in POLICIES or not POLICIES[name].per_replica:
        return {}
    return {
        "synchronization": tf.VariableSynchronization.ON_READ,
        "aggregation": tf.VariableAggregation.SUM,
    }
