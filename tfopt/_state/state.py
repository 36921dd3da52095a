"""The state of an optimizer: its variables in one order, and how values are loaded into them."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt._libraries import replicas, tensorflow_private, tf_variables
from tfopt._libraries.warnings import warn
from tfopt._state import weight_lists
from tfopt._state.checkpoint_origin import Origin
from tfopt._state.deferred_loading import ListLoader, Pairs, Rule, SnapshotLoader, Waiting, matched
from tfopt._state.hyperparameters import Hypers
from tfopt._state.slots import Slots
from tfopt._state.snapshot import Snapshot
from tfopt._state.weight_order import Entry, in_order, kept_last
from tfopt._values.cells_and_codecs import Cell
from tfopt._values.initial_values import Kept


class State:
    """The state of one optimizer: `iterations`, scalars, slots, and values that wait for variables.

    Slots are found by variable, never by position. `weights` has the order of `snapshot.in_order`.

    `lock` is held while variables are created, so that tables grow in one thread at a time, never
    while a function is traced or run. What is assigned while it is held goes to all copies at once,
    since replicas that wait for each other must not wait for it, too.

    Args:
        owner: the optimizer, under which checkpoints find the variables.
        name: its name, with which the names of variables begin.
        kept: the slots of policies, by name.
        first_counts: returns the first values of the counters of policies, by name.
        split_over: returns the mesh dimension of DTensor over which slots are split, or None.
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
        self.table = Slots(name, kept, split_over)
        self.scalars: dict[str, Any] = {}  # declared by the optimizer in `state`
        self.counters: dict[str, Any] = {}  # of policies
        self.first_counts = first_counts
        self.added: dict[str, Any] = {}  # the variables of `add_weight`, by name
        self.layout: Any = None  # for scalars on a DTensor mesh
        self.home = replicas.Home()  # for scalars under a strategy
        self.waiting, self.origin = Waiting(self.lock), Origin(owner)
        self._iterations: Any = None
        self.is_evaluated = False  # whether variables have their evaluation weights
        self.part_of: State | None = None  # of an optimizer that takes the steps of this one
        tensorflow_private.start_tracking(owner)
        self._exported: Callable[[], Any] = _nothing  # what a SavedModel in the making holds
        self._names = tf_variables.Names()

    # --- variables of the optimizer as a whole ----------------------------------------------------

    @property
    def slots(self) -> Slots:
        """The slots; a deep copy gets its own when they are first read."""
        self.waiting.finish_copy()
        return self.table

    def copy_late(self) -> None:
        """Copies variables into slots that were created before the variables had a value."""
        if self.slots.has_late:
            with self.lock:
                self.slots.copy_late()

    @property
    def iterations(self) -> Any:
        """The number of steps taken: a variable, created on first use."""
        if self.part_of is not None:
            return self.part_of.iterations
        self.waiting.finish_copy()
        if self._iterations is None:
            with self.lock:
                if self._iterations is None:
                    self.origin.note_awaited("iter")
                    self.count_steps_in(self.create_scalar("iter", 0, tf.int64))
        return self._iterations

    @property
    def step_counter(self) -> Any:
        """The variable of `iterations`; None if there is none yet."""
        return self._iterations

    def count_steps_in(self, variable: Any) -> None:
        """Makes a variable the counter of steps."""
        self._iterations = variable
        self.track(variable, "iter")

    def create_scalar(self, name: str, value: Any, dtype: Any) -> Any:
        """Creates a scalar variable of the optimizer, the same on all replicas."""
        if self.part_of is not None:
            return self.part_of.create_scalar(f"{self.name}/{name}", value, dtype)
        name = self._names.unique(f"{self.name}/{name}")
        alike = tf.VariableAggregation.ONLY_FIRST_REPLICA
        with self.home.scope():
            return tf_variables.create(value, name, dtype, layout=self.layout, aggregation=alike)

    def create_scalars(self, declared: Mapping[str, float], variable: Any) -> None:
        """Creates the scalars that the optimizer declares, and the counters of policies."""
        dtype = tf_variables.compute_dtype(variable.dtype)
        for name, value in declared.items():
            if name not in self.scalars:
                self.scalars[name] = self.create_scalar(name, value, dtype)
                self.track(self.scalars[name], name)
        for name in self.first_counts():
            self.counter(name)

    def counter(self, name: str) -> Any:
        """Returns a counter of a policy; creates it on first use."""
        with self.lock:
            if name not in self.counters:
                first = self.first_counts().get(name, 0)
                dtype = tf.float32 if isinstance(first, float) else tf.int64
                self.counters[name] = self.create_scalar(name, first, dtype)
                self.track(self.counters[name], name)
            return self.counters[name]

    def add_weight(self, name: str, initial: Any, dtype: Any, **kwargs: Any) -> Any:
        """Creates a variable of any shape that belongs to the optimizer and is not in `weights`."""
        with self.lock:
            full_name = self._names.unique(f"{self.name}/{name}")
            variable = tf_variables.create(initial, full_name, dtype, **kwargs)
            self.track(variable, name)
            self.added[name] = variable
        return variable

    def add_slot(self, variable: Any, name: str, initial: Any, shape: Any) -> Any:
        """Returns a slot of the dtype of its variable, for hooks; creates it if it is not there."""
        with self.lock:
            return self.slots.add(variable, name, initial, variable.dtype, shape)

    def track(self, variable: Any, name: str) -> None:
        """Makes checkpoints save a variable under a name."""
        tensorflow_private.track(self.owner, variable, name)

    def is_awaited(self, name: str) -> bool:
        """Returns whether a checkpoint that was restored earlier has a value for that name."""
        return tensorflow_private.is_awaited(self.owner, name)

    @property
    def is_exported(self) -> bool:
        """Whether a SavedModel is being made."""
        return self._exported() is not None

    def export_to(self, holder: Any) -> None:
        """Remembers the object that holds the state in a SavedModel being made; None if none is."""
        self._exported = _nothing if holder is None else weakref.ref(holder)

    # --- what there is ----------------------------------------------------------------------------

    @property
    def built(self) -> bool:
        """Whether the optimizer has seen variables."""
        return bool(self.slots.variables)

    def variables(self) -> list[Any]:
        """Returns the variables seen, in order."""
        return list(self.slots.variables.values())

    def cells(self, variable: Any, copy: Any = None) -> dict[str, Cell]:
        """Returns all cells of a variable; with a copy of it, those on the device of the copy."""
        cells = self.slots.cells(variable)
        if copy is None or copy is variable:
            return cells
        return {name: cell.on_device_of(copy) for name, cell in cells.items()}

    def block_of(self, variables: Iterable[Any]) -> list[Any]:
        """Returns the block with the earliest of these variables: those first seen together."""
        return self.slots.block_of(variables)

    @property
    def kept(self) -> set[str]:
        """The names of slots and scalars that policies keep."""
        return {*self.table.kept, *self.first_counts(), *self.counters}

    def weights(self) -> list[Any]:
        """Returns all variables, in order."""
        with self.lock:
            return self.weights_with([*self.slots.entries(), *self.slots.early_entries()])

    def weights_with(self, entries: Iterable[Entry]) -> list[Any]:
        """Returns the variables that `weights` would list if these were all slots."""
        return in_order(self.all_scalars(), entries, self.kept)

    def all_scalars(self) -> dict[str, Any]:
        """Returns `iterations`, the scalars that the optimizer declares, and counters, by name."""
        return {"iterations": self.iterations, **self.scalars, **self.counters}

    def blocks(self) -> list[list[Entry]]:
        """Returns the slots, block by block."""
        with self.lock:
            own = map(self.slots.entries_of, self.slots.blocks)
            return [kept_last(block, self.kept) for block in own]

    # --- values that come in ----------------------------------------------------------------------

    def load_waiting(self, start: int) -> None:
        """Loads waiting values into slots: those created since there were `start` of them."""
        if self.waiting:
            self.slots.forget_late()
            self.waiting.load_into(self, kept_last(self.slots.entries(start), self.kept))

    def build_if_waiting(self, var_list: Sequence[Any]) -> None:
        """Creates the slots of variables whose state was loaded, if there are none yet."""
        if not self.built and self.waiting:
            self.owner.build(var_list)

    def assign(self, values: Sequence[np.ndarray], variables: Sequence[Any]) -> None:
        """Assigns a list to `weights`, or raises before it assigns any."""
        values = weight_lists.from_keras_1(type(self.owner), list(values), len(variables))
        weight_lists.check_count(self.name, values, variables)
        self.assign_pairs(list(zip(variables, values, strict=True)))

    def assign_pairs(self, pairs: Pairs) -> None:
        """Assigns a value to each variable, or raises before it assigns any."""
        tf_variables.assign_all([(v, weight_lists.cast(value, v)) for v, value in pairs])

    def load(self, snapshot: Snapshot, origin: str, lenient: bool = False) -> None:
        """Loads all values that have variables, or none; other values wait for their variables.

        Args:
            snapshot: the state.
            origin: the call that loads it, for messages.
            lenient: whether slots without a value keep their initial values, with a warning, and
                values without a slot are dropped. If not, both raise.
        """
        left = snapshot.copy()
        pairs = [(v, left.added[name]) for name, v in self.added.items() if name in left.added]
        pairs += self.hypers.match(left.hypers)
        left.added, left.hypers = {}, {}
        before: Pairs = []
        missing: list[Entry] = []
        if self.built and left.listed:
            weights = self.weights()
            weight_lists.check_count(self.name, left.listed, weights)
            pairs += zip(weights, left.listed, strict=True)
            left = Snapshot({}, [])
        elif self.built:
            rule = Rule.LENIENT if lenient else Rule.STRICT
            scalars, blocks = self.all_scalars(), self.blocks()
            more, left, missing = matched(self.name, left, blocks, scalars, rule, origin)
            pairs += more
        elif "iterations" in left.scalars:
            # In a v1 graph nobody may have initialized it yet.
            steps = 0 if tf_variables.in_v1_graph() else tf_variables.value_of(self.iterations)
            now = [(self.iterations, np.asarray(steps))]
            before = self.waiting.before() or now
            pairs.append((self.iterations, left.scalars["iterations"]))
        self.assign_pairs(pairs)
        self.slots.restart(missing)
        if left.listed:
            self.waiting.put(ListLoader(left.listed, origin, lenient, before))
        else:
            waits = SnapshotLoader(left, origin, lenient, before) if left.waits else None
            self.waiting.put(waits)

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Sets the values of `weights`, or keeps them until there are slots."""
        named = weight_lists.named(weights)
        if named is not None:  # Keras reads an .h5 file
            self.load_of_keras(named, "the .h5 file")
            return
        values = [np.array(value) for value in weights]
        if self.built:
            self.assign(values, self.weights())
            return
        counted = bool(values) and values[0].shape == ()
        scalars = {"iterations": values[0]} if counted else {}
        waiting = [] if len(values) == len(scalars) else values
        self.load(Snapshot(scalars, [], listed=waiting), "`set_weights`")

    def load_of_keras(self, snapshot: Snapshot, origin: str) -> None:
        """Loads what a file of Keras holds: a model must load, whatever that is."""
        try:
            self.load(snapshot, origin, lenient=True)
        except ValueError as error:
            warn(str(error))

    # --- values that go out -----------------------------------------------------------------------

    def create_restored(self) -> None:
        """Creates what a checkpoint has values for, if nothing has asked for it yet."""
        with self.lock:
            self.hypers.restore()
            early = self.slots.early_owners()
            if early:
                _ = self.iterations
                self.create_scalars(self.owner._engine.declared_state(), early[0])
            if self.slots.restored.has_positions:
                warn(
                    f"`{self.name}` holds slots of a checkpoint for variables that it has not "
                    "seen, which cannot be saved: call `build` with them first."
                )

    def snapshot(self) -> Snapshot:
        """Returns the state as arrays, with the values that still wait for variables."""
        with self.lock:  # what waits must not become slots in between
            built = self.built  # first: by this a deep copy is finished
            self.create_restored()
            scalars, blocks = self.all_scalars(), self.blocks() if built else []
            early = self.slots.early_entries(unseen=True)
            blocks += [kept_last(early, self.kept)] if early else []
            left = self.waiting.snapshot(built)
            hypers, added = self.hypers.numbers(), dict(self.added)
        return Snapshot(
            scalars=left.scalars or _values(scalars),
            blocks=[
                *([e._replace(value=tf_variables.value_of(e.value)) for e in b] for b in blocks),
                *left.blocks,
            ],
            hypers=_values(hypers),
            added=_values(added),
            listed=left.listed,
        )

    def get_weights(self) -> list[np.ndarray]:
        """Returns the values of `weights`; before there are slots, the values loaded for them."""
        with self.lock:
            if not self.built and self.waiting:
                left = self.waiting.snapshot(built=False)
                return [np.array(value) for value in left.listed or left.values(self.kept)]
        return tf_variables.values_of(self.weights())


def _values(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: tf_variables.value_of(variable) for name, variable in variables.items()}


def _nothing() -> None:
    """Refers to nothing, as a weak reference does when its object is deleted."""
