"""An optimizer's state: its variables, in one order, and how they come to be."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt._libraries import tensorflow_private, tf_variables
from tfopt._state import lists
from tfopt._state.slots import Item, Slots
from tfopt._state.snapshot import Entry, Saved
from tfopt._values.door import Cell
from tfopt._values.initial import Kept
from tfopt.hyper import Hypers


class CallableList(list[Any]):
    """A list that returns itself when called: `opt.variables` and `opt.variables()`."""

    def __call__(self) -> CallableList:
        return self


class State:
    """The state of one optimizer: `iterations`, scalars, slots, and what waits for its variables.

    `weights` lists it: `iterations`, the scalars, then a block of slots for each set of
    variables as it first appeared, then what policies keep. Slots are found by variable, never
    by position.

    Tables grow behind `lock`, which is held while variables are created, and never while a
    function is traced or run. What is assigned in between goes to all copies of a variable at
    once: replicas that wait for each other must not wait for the lock, too.

    Args:
        owner: the optimizer, under which checkpoints find the variables.
        name: its name, with which names of variables begin.
        kept: the slots that policies keep, by name.
        first_counts: gives what the counters of policies start from, by name.
        split_over: gives the dimension of a DTensor mesh over which slots are split, or None.
    """

    def __init__(
        self,
        owner: Any,
        name: str,
        kept: Mapping[str, Kept],
        first_counts: Callable[[], Mapping[str, int | float]],
        split_over: Callable[[], str | None],
    ):
        self.owner, self.name = owner, name
        self.lock = threading.RLock()
        self.hypers = Hypers(self)
        self.table = Slots(kept, split_over)
        self.scalars: dict[str, Any] = {}  # that the optimizer declares in `state`
        self.counters: dict[str, Any] = {}  # of policies, last in `weights`
        self._first_counts = first_counts
        self.added: dict[str, Any] = {}  # the variables of `add_weight`, by name
        self.layout: Any = None  # for scalars on a DTensor mesh
        self.pending: list[np.ndarray] = []  # what `set_weights` was given before there were slots
        self.saved: Saved | None = None  # what was loaded for slots that are not there yet
        self.become: Callable[[], None] | None = None  # makes a deep copy whole, at its first use
        self._becoming = False
        self._iterations: Any = None
        tensorflow_private.start_tracking(owner)
        self._exported: Callable[[], Any] = _nothing  # what a SavedModel in the making holds
        self._names = tf_variables.Names()

    # --- variables of the optimizer as a whole ----------------------------------------------------

    @property
    def slots(self) -> Slots:
        """The slots; a deep copy gets its own when it is first asked."""
        if self.become is not None:
            with self.lock:  # other threads wait here until the copy is whole
                if self.become is not None and not self._becoming:
                    self._becoming = True
                    try:
                        self.become()
                    finally:
                        self.become, self._becoming = None, False
        return self.table

    def copy_late(self) -> None:
        """Copies variables that had no value when their slots were made, where they have one."""
        if self.slots.has_late:
            with self.lock:
                self.slots.copy_late()

    @property
    def iterations(self) -> Any:
        """The number of steps taken: a variable, created on first use."""
        if self.become is not None:
            _ = self.slots
        if self._iterations is None:
            with self.lock:
                if self._iterations is None:
                    self.count_in(self.scalar("iter", 0, tf.int64))
        return self._iterations

    @property
    def counts_in(self) -> Any:
        """The variable of `iterations`, or None if there is none yet."""
        return self._iterations

    def count_in(self, variable: Any) -> None:
        """Makes a variable the one that counts steps."""
        self._iterations = variable
        self.track(variable, "iter")

    def scalar(self, name: str, value: Any, dtype: Any) -> Any:
        """A scalar variable of the optimizer, the same on all replicas."""
        return tf_variables.create(
            value,
            self._names.unique(f"{self.name}/{name}"),
            dtype,
            layout=self.layout,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    def counter(self, name: str) -> Any:
        """A scalar of a policy, made on first use."""
        with self.lock:
            if name not in self.counters:
                first = self._first_counts().get(name, 0)
                dtype = tf.float32 if isinstance(first, float) else tf.int64
                self.counters[name] = self.scalar(name, first, dtype)
                self.track(self.counters[name], name)
            return self.counters[name]

    def add(self, name: str, initial: Any, dtype: Any, **kwargs: Any) -> Any:
        """A variable of any shape that belongs to the optimizer and is not in `weights`."""
        with self.lock:
            full_name = self._names.unique(f"{self.name}/{name}")
            variable = tf_variables.create(initial, full_name, dtype, **kwargs)
            self.track(variable, name)
            self.added[name] = variable
        return variable

    def track(self, variable: Any, name: str) -> None:
        """Has checkpoints save a variable under a name."""
        tensorflow_private.track(self.owner, variable, name)

    def is_awaited(self, name: str) -> bool:
        """Whether a checkpoint that was restored earlier has a value for that name."""
        return tensorflow_private.is_awaited(self.owner, name)

    @property
    def is_exported(self) -> bool:
        """Whether a SavedModel is being made."""
        return self._exported() is not None

    def export_to(self, holder: Any) -> None:
        """Notes the object that a SavedModel has in place of the state, if one is being made."""
        self._exported = _nothing if holder is None else weakref.ref(holder)

    # --- what there is ----------------------------------------------------------------------------

    @property
    def built(self) -> bool:
        """Whether the optimizer has seen variables."""
        return bool(self.slots.variables)

    def variables(self) -> list[Any]:
        """The variables seen, in order."""
        return list(self.slots.variables.values())

    def cells(self, variable: Any, copy: Any = None) -> dict[str, Cell]:
        """All that is kept for a variable; with a copy of it, what is kept beside that one."""
        cells = self.slots.cells(variable)
        if copy is None or copy is variable:
            return cells
        return {name: cell.beside(copy) for name, cell in cells.items()}

    def block_of(self, variables: Iterable[Any]) -> list[Any]:
        """The variables that turned up with the earliest of these."""
        return self.slots.block_of(variables)

    def weights(self) -> list[Any]:
        """All variables, in order."""
        with self.lock:
            return self.in_order(self.slots)

    def in_order(self, slots: Iterable[Any]) -> list[Any]:
        """All variables, with these slots, in the order of `weights`."""
        return [self.iterations, *self.scalars.values(), *slots, *self.counters.values()]

    def all_scalars(self) -> dict[str, Any]:
        """The scalars by name, in the same order."""
        return {"iterations": self.iterations, **self.scalars, **self.counters}

    def named_slots(self) -> list[list[Item]]:
        """The slots with whose they are, block by block."""
        with self.lock:
            return [self.slots.items_of(block) for block in self.slots.blocks]

    # --- a block of slots -------------------------------------------------------------------------

    @property
    def waits(self) -> bool:
        """Whether something was loaded for variables that were not seen."""
        return bool(self.pending or self.saved)

    def create_scalars(self, declared: Mapping[str, float], variable: Any) -> None:
        """Creates the scalars that the optimizer declares, and those of policies."""
        dtype = tf_variables.compute_dtype(variable.dtype)
        for name, value in declared.items():
            if name not in self.scalars:
                self.scalars[name] = self.scalar(name, value, dtype)
                self.track(self.scalars[name], name)
        for name in self._first_counts():
            self.counter(name)

    def load_waiting(self, start: int) -> None:
        """Gives the slots placed since there were `start` of them the values that wait for them."""
        block = self.slots.items(start)
        if self.waits:
            self.slots.copy_nothing_late()
        if self.pending:
            try:
                self.assign(self.pending, self.in_order(slot for *_, slot in block))
            except ValueError as error:
                tf_variables.assign_all([(self.iterations, 0)])
                raise ValueError(
                    f"What `set_weights` was given before there were slots does not fit: {error}"
                ) from None
            self.pending = []
        elif self.saved is not None:
            saved = self.saved.copy()
            pairs = self._matched(saved, [block], strict=not self.built)
            if not self.built:
                pairs += self._match_scalars(saved)
            self.assign_pairs(pairs)
            self.saved = saved if saved else None

    def build_if_waiting(self, var_list: Sequence[Any]) -> None:
        """Creates the slots of variables whose state was loaded, if none are there yet."""
        if not self.built and self.waits:
            self.owner.build(var_list)

    def _matched(
        self, saved: Saved, blocks: Iterable[Sequence[Item]], strict: bool
    ) -> list[tuple[Any, np.ndarray]]:
        """(slot, value) pairs; takes the values out of `saved`."""
        pairs = []
        for block in blocks:
            values = saved.take([(path, name) for path, name, _ in block])
            for (path, name, slot), value in zip(block, values, strict=True):
                if value is not None:
                    pairs.append((slot, value))
                elif strict:
                    raise ValueError(
                        f"The state loaded into `{self.name}` has no slot `{name}` of `{path}`; "
                        f"left in it are {_first(f'{e.path}/{e.slot}' for e in saved.entries())}."
                    )
        return pairs

    def _match_scalars(self, saved: Saved) -> list[tuple[Any, np.ndarray]]:
        mine = self.all_scalars()
        if saved.scalars.keys() != mine.keys():
            raise ValueError(
                f"`{self.name}` has the scalars {sorted(mine)}; the state loaded has "
                f"{sorted(saved.scalars)}."
            )
        pairs = [(scalar, saved.scalars[name]) for name, scalar in mine.items()]
        saved.scalars = {}
        return pairs

    # --- values in and out ------------------------------------------------------------------------

    def fit(self, values: Sequence[np.ndarray], variables: Sequence[Any]) -> list[np.ndarray]:
        """The values as these variables take them; raises if they do not."""
        values = lists.from_keras_1(type(self.owner), list(values), len(variables))
        return lists.fit(self.name, values, variables)

    def assign(self, values: Sequence[np.ndarray], variables: Iterable[Any]) -> None:
        """Assigns all values, or raises before any."""
        variables = list(variables)
        fitting = self.fit(values, variables)
        tf_variables.assign_all(list(zip(variables, fitting, strict=True)))

    def assign_pairs(self, pairs: Sequence[tuple[Any, np.ndarray]]) -> None:
        """Assigns a value to each variable, or raises before any."""
        self.assign([value for _, value in pairs], [variable for variable, _ in pairs])

    def load(self, saved: Saved, others: Sequence[tuple[Any, np.ndarray]] = ()) -> None:
        """Loads what there are slots for, all or nothing; the rest waits for its variables."""
        pairs = list(others)
        if self.built:
            pairs += self._matched(saved, self.named_slots(), strict=True)
            pairs += self._match_scalars(saved)
        elif "iterations" in saved.scalars:
            pairs.append((self.iterations, saved.scalars["iterations"]))
        self.assign_pairs(pairs)
        self.saved, self.pending = (saved if saved else None), []

    def snapshot(self) -> Saved:
        """The state apart from the variables, with what still waits for some."""
        with self.lock:
            built, waiting = self.built, self.saved  # in this order: a copy becomes whole
            if not built and waiting is not None:
                return waiting.copy()
            scalars, named = self.all_scalars(), self.named_slots()
        blocks = [
            [Entry(path, name, tf_variables.value_of(slot)) for path, name, slot in items]
            for items in named
        ]
        blocks += waiting.blocks if waiting is not None else []
        return Saved({name: tf_variables.value_of(v) for name, v in scalars.items()}, blocks)

    def get_weights(self) -> list[np.ndarray]:
        """The values of `weights`; before there are slots, what was loaded for them."""
        with self.lock:
            if not self.built and self.waits:
                last = [*self.slots.kept, *self._first_counts()]
                waiting = self.pending or (self.saved.values(last) if self.saved else [])
                return [np.array(value) for value in waiting]
        return tf_variables.values_of(self.weights())

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Sets the values of `weights`, or keeps them until there are slots."""
        named = lists.named(weights)
        values = [np.array(value) for value in weights]
        if named is not None:
            self.load(named)
        elif self.built:
            self.assign(values, self.weights())
        elif len(values) == 1 and values[0].shape == ():
            self.assign(values, [self.iterations])
        else:
            if values and values[0].shape == ():
                self.assign(values[:1], [self.iterations])
            self.pending, self.saved = values, None


def _nothing() -> None:
    """A reference to nothing, as a weak one is once its object is gone."""


def _first(names: Iterator[str]) -> str:
    return ", ".join(dict.fromkeys(list(names)[:8])) or "none"
