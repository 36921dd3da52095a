"""An optimizer's state: its variables, in one order, and the ways in and out."""

from __future__ import annotations

import copy
import functools
import re
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt import _export, _layout, _variables, initializers
from tfopt._saved import Entry, Saved
from tfopt._slots import POLICIES, Slots
from tfopt._variables import plain_python
from tfopt._warnings import warn


class CallableList(list[Any]):
    """A list that returns itself when called: `opt.variables` and `opt.variables()`."""

    def __call__(self) -> CallableList:
        return self


class Stateful:
    """The state of an optimizer: `iterations`, scalars declared in `state`, and slots.

    `weights` lists it: `iterations`, the scalars, then a block of slots for each set of
    variables as it first appeared. Slots are found by variable, never by position.
    """

    state: dict[str, float] = {}  # scalars of the whole optimizer: {name: initial value}
    slot_order = "slot"  # in a block: "slot" after slot, or "variable" after variable
    v1_weights = ""  # lists of older Keras accepted: "no iterations" or "unused slot"

    # From the other parts of an optimizer.
    name: str
    get_config: Any
    slots: Any
    _hypers: Any
    _statics: Any
    _excluded: Any
    _check_arguments: Any
    _check_shards: Any
    _init_engine: Any
    _track_trackable: Any
    _is_declared: Any
    shard_slots: str | None
    use_ema: bool

    _slot_variables: Slots
    _scalars: dict[str, Any]
    _counters: dict[str, Any]
    _policy_slots: Any
    _policy_counters: Any
    _iterations: Any
    _scalar_layout: Any
    _added: dict[str, Any]
    _pending: list[np.ndarray]
    _saved: Saved | None
    _original: Any
    _exported: Callable[[], Any]
    _pending_lr: Any
    _names: _variables.Names

    def _init_state(self) -> None:
        self.__dict__.update(
            _slot_variables=Slots(lambda: self.shard_slots),
            _scalars={},
            _counters={},  # of policies, last in `weights`
            _iterations=None,
            _scalar_layout=None,  # for scalars on a DTensor mesh
            _added={},  # the variables of `add_weight`, by name
            _pending=[],  # what `set_weights` was given before there were slots
            _saved=None,  # what was loaded for slots that are not there yet
            _exported=_nothing,  # what a SavedModel that is being made holds of the state
            _original=None,  # what a deep copy was made from, until it is first used
            _names=_variables.Names(),
        )

    @property
    def _slots(self) -> Slots:
        if self._original is not None:
            self._become_copy()
        return self._slot_variables

    # --- variables --------------------------------------------------------------------------------

    @property
    def iterations(self) -> Any:
        """The number of updates applied so far: an int64 variable, created on first use.

        It may be replaced by a variable of your own before the optimizer is first used.
        """
        if self._original is not None:
            self._become_copy()
        if self._iterations is None:
            self._set_iterations(self._scalar("iter", 0, tf.int64))
        return self._iterations

    @iterations.setter
    def iterations(self, variable: Any) -> None:
        variable = _variables.unwrap(variable)
        if not isinstance(variable, tf.Variable) or not variable.dtype.is_integer:
            raise TypeError(f"`iterations` must be an integer tf.Variable; got {variable!r}.")
        if self._iterations is not None:
            raise RuntimeError(
                "`iterations` can only be replaced before the optimizer is used; "
                f"it is {self._iterations!r} already; got {variable!r}."
            )
        self._set_iterations(variable)

    def _set_iterations(self, variable: Any) -> None:
        self.__dict__["_iterations"] = variable
        self._track_trackable(variable, "iter")

    def _scalar(self, name: str, value: Any, dtype: Any) -> Any:
        """A scalar variable of the optimizer, the same on all replicas."""
        return _variables.create(
            value,
            self._names.unique(f"{self.name}/{name}"),
            dtype,
            layout=self._scalar_layout,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    def add_weight(
        self,
        name: str,
        shape: Any,
        dtype: Any = None,
        initializer: Any = "zeros",
        trainable: bool | None = None,
        synchronization: Any = tf.VariableSynchronization.AUTO,
        aggregation: Any = tf.VariableAggregation.NONE,
    ) -> Any:
        """Adds a variable that belongs to the optimizer as a whole.

        Args:
            name: its name; it is saved in checkpoints under it.
            shape: its shape.
            dtype: its dtype; float32 by default.
            initializer: a name, config, instance or callable for
                `tfopt.initializers.get`, or the initial value itself.
            trainable: must not be True: nothing trains an optimizer's state.
            synchronization: how replicas' copies are kept.
            aggregation: how replicas' assignments are combined.

        Returns:
            The variable. It is not in `weights`, as in OptimizerV2: declare `state`
            for scalars that are.

        Raises:
            ValueError: if `trainable` is True, or the initializer is unknown.
        """
        if trainable:
            raise ValueError(
                f"`trainable` must not be True for an optimizer's state; got {trainable}."
            )
        dtype = tf.as_dtype(dtype or tf.float32)
        variable = _variables.create(
            _initial(initializer, tf.TensorShape(shape), dtype),
            self._names.unique(f"{self.name}/{name}"),
            dtype,
            synchronization=synchronization,
            aggregation=aggregation,
        )
        self._track_trackable(variable, name, overwrite=True)
        self._added[name] = variable
        return variable

    def add_slot(
        self, var: Any, slot_name: str, initializer: Any = "zeros", shape: Any = None
    ) -> Any:
        """Adds the slot variable `slot_name` for `var`, or returns the one there is.

        Args:
            var: the variable it belongs to.
            slot_name: its name, as in `get_slot`.
            initializer: a name, config, instance or callable for
                `tfopt.initializers.get`, or the initial value itself.
            shape: its shape; that of `var` by default.

        Returns:
            A variable of the dtype of `var`, created on its device and mirrored as it is.
        """
        variable = _variables.unwrap(var)
        whole = variable.shape.is_fully_defined()
        actual = shape if shape is not None else variable.shape if whole else tf.shape(variable)
        return self._slots.add(
            variable,
            slot_name,
            _initial(initializer, actual, variable.dtype),
            variable.dtype,
            tf.TensorShape(shape) if shape is not None else variable.shape,
        )

    def get_slot(self, var: Any, slot_name: str) -> Any:
        """The slot variable `slot_name` of `var`; of a sharded variable, a sharded one.

        Raises:
            KeyError: if there is none (yet): slots appear when `var` is first updated.
        """
        if not isinstance(_variables.unwrap(var), tf.Variable | _variables.ShardedVariable):
            raise KeyError(f"Not a variable: {var!r}.")  # checkpoints ask with every object
        slot = self._slots.get(var, slot_name)
        if slot is None:
            raise KeyError(
                f"Variable `{_variables.path(var)}` has no slot `{slot_name}`; "
                f"it has {sorted(self._slots.of(var)) or 'none yet'}."
            )
        return slot

    def get_slot_names(self) -> list[str]:
        """The names of the slots that exist."""
        if self._exported() is not None:
            return []  # a SavedModel is being made, where they are plain variables
        return list(self._slots.names)

    @property
    def weights(self) -> CallableList:
        """The state as variables: `iterations`, scalars, slots by block, then policies' state."""
        return CallableList(self._in_order(self._slots))

    def _in_order(self, slots: Iterable[Any]) -> list[Any]:
        return [self.iterations, *self._scalars.values(), *slots, *self._counters.values()]

    def _all_scalars(self) -> dict[str, Any]:
        return {"iterations": self.iterations, **self._scalars, **self._counters}

    @property
    def variables(self) -> CallableList:
        """The same as `weights`; may also be called, as in tf-keras."""
        return self.weights

    # --- a block of slots -------------------------------------------------------------------------

    @property
    def built(self) -> bool:
        """Whether the optimizer has seen variables."""
        return bool(self._slots.variables)

    @plain_python
    def build(self, var_list: Sequence[Any]) -> None:
        """Creates the state for variables not seen before. Optional: updates do it too.

        Args:
            var_list: the variables.

        Raises:
            ValueError: if what `set_weights` was given earlier does not fit.
        """
        variables = [_variables.unwrap(variable) for variable in var_list]
        self._slots.copy_late()
        if self._slots.knows(variables):
            return
        var_list, variables = _variables.shards(var_list), _variables.shards(variables)
        new = {
            key: variable
            for key, variable in zip(map(_variables.key, variables), variables, strict=True)
            if key not in self._slots.variables
        }
        if self.built and not new:
            return
        self._slots.name(var_list)
        self._check_arguments()
        self._check_shards(new.values())
        if self._pending_lr is not None:
            raise TypeError(
                f"`lr`={self._pending_lr!r} has no effect: {type(self).__name__} never "
                "called `_set_hyper('learning_rate', ...)`."
            )
        if variables:
            self._join_mesh(variables)
        _ = self.iterations
        self._hypers.create()
        if not new:
            return
        placed = self._slots.count()
        try:
            self._create_scalars(variables)
            self.create_slots(list(new.values()))
            self._create_policy_slots(list(new.values()))
            self._load_waiting(self._slots.items(placed if self.built else 0))
        except Exception:
            self._slots.forget_from(placed)
            raise
        self._slots.keep(new)
        self._slots.blocks.append(list(new.values()))
        self._hypers.freeze()
        self._expose_weights()

    def _join_mesh(self, variables: Sequence[Any]) -> None:
        """Puts the scalars on the DTensor mesh of the variables, which computes with them."""
        layout = _variables.layout_of(variables[0], ())
        if self.shard_slots is not None:
            names = [] if layout is None else layout.mesh.dim_names
            if self.shard_slots not in names:
                raise ValueError(
                    "`shard_slots` must be a dimension of the variables' DTensor mesh: "
                    f"`{_variables.path(variables[0])}` is {_where(layout)}"
                    f"{' of ' + ', '.join(names) if names else ''}; got {self.shard_slots!r}."
                )
            if self.use_ema and tf.__version__.startswith(("2.16.", "2.17.")):
                raise NotImplementedError(
                    "`shard_slots` must be None beside `use_ema` before TensorFlow 2.18, whose "
                    "DTensor averages some variables as they were before the step; got "
                    f"{self.shard_slots!r}."
                )
        if str(layout) == str(self._scalar_layout):  # a layout compares with layouts only
            return
        if self._iterations is not None:
            raise ValueError(
                f"`{self.name}` has its scalars {_where(self._scalar_layout)} already, and cannot "
                f"update `{_variables.path(variables[0])}`, which is {_where(layout)}: take an "
                "optimizer for each, and do not read it before it has seen its variables."
            )
        self.__dict__["_scalar_layout"] = layout

    def _load_waiting(self, block: list[tuple[str, str, Any]]) -> None:
        """Gives new slots the values that wait for them."""
        slots = [slot for *_, slot in block]
        if self._pending or self._saved is not None:
            self._slots.copy_nothing_late()
        if self._pending:
            try:
                self._assign(self._pending, self._in_order(slots))
            except ValueError as error:
                _variables.assign_all([(self.iterations, 0)])
                raise ValueError(
                    f"What `set_weights` was given before there were slots does not fit: {error}"
                ) from None
            self.__dict__["_pending"] = []
        elif self._saved is not None:
            saved = self._saved.copy()
            pairs = self._matched(saved, [block], strict=not self.built)
            if not self.built:
                pairs += self._match_scalars(saved)
            self._assign_pairs(pairs)
            self.__dict__["_saved"] = saved if saved else None

    def _matched(
        self, saved: Saved, blocks: list[list[tuple[str, str, Any]]], strict: bool
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
        mine = self._all_scalars()
        if saved.scalars.keys() != mine.keys():
            raise ValueError(
                f"`{self.name}` has the scalars {sorted(mine)}; the state loaded has "
                f"{sorted(saved.scalars)}."
            )
        pairs = [(scalar, saved.scalars[name]) for name, scalar in mine.items()]
        saved.scalars = {}
        return pairs

    def _assign(self, values: list[np.ndarray], variables: Sequence[Any]) -> None:
        """Assigns all values, or raises before any."""
        fitting = self._fit(values, variables)
        _variables.assign_all(list(zip(variables, fitting, strict=True)))

    def _assign_pairs(self, pairs: list[tuple[Any, np.ndarray]]) -> None:
        self._assign([value for _, value in pairs], [variable for variable, _ in pairs])

    def _create_scalars(self, variables: Sequence[Any]) -> None:
        dtype = _variables.compute_dtype(variables[0].dtype)
        for name, value in self.state.items():
            if name not in self._scalars:
                self._scalars[name] = self._scalar(name, value, dtype)
                self._track_trackable(self._scalars[name], name)
        for name in self._policy_counters():
            self._counter(name)

    def _counter(self, name: str) -> Any:
        """A variable in which a policy counts, made on first use."""
        if name not in self._counters:
            self._counters[name] = self._scalar(name, 0, tf.int64)
            self._track_trackable(self._counters[name], name)
        return self._counters[name]

    def create_slots(self, var_list: Sequence[Any]) -> None:
        """Creates the slots of variables seen for the first time.

        The default creates what `slots` declares. Override it, with `add_slot`, in an
        optimizer that also overrides `resource_apply_dense`.

        Args:
            var_list: the new variables.
        """
        with tf.init_scope():  # values that `slots` computes must not belong to a function
            declared = [(variable, self.slots(variable)) for variable in var_list]
        if self.slot_order == "variable":
            order = [(variable, slots, name) for variable, slots in declared for name in slots]
        else:
            names = dict.fromkeys(name for _, slots in declared for name in slots)
            order = [(v, slots, name) for name in names for v, slots in declared if name in slots]
        for variable, slots, name in order:
            if name in POLICIES:
                raise ValueError(
                    f"`slots` of {type(self).__name__} must not declare {name!r}: the names "
                    f"{', '.join(POLICIES)} belong to policies that all optimizers share."
                )
            self._slots.declare(variable, name, slots[name])

    def _create_policy_slots(self, var_list: Sequence[Any]) -> None:
        with tf.init_scope():
            declared = [(v, self._policy_slots(v, first=v is var_list[0])) for v in var_list]
        for name in POLICIES:
            for variable, slots in declared:
                if name in slots:
                    self._slots.declare(variable, name, slots[name])

    def _expose_weights(self) -> None:
        """Lets a `tf.Module` that holds the optimizer find its variables.

        Not a tracked attribute: checkpoints know slots by the slot-variable protocol.
        """
        self.__dict__["_module_variables"] = list(self.weights)

    # --- values -----------------------------------------------------------------------------------

    def get_weights(self) -> list[np.ndarray]:
        """The values of `weights`, as NumPy arrays; `iterations` first.

        Before there are slots, what was loaded for them.
        """
        if self.built or not (self._pending or self._saved):
            return _variables.values_of(self.weights)
        waiting = self._pending or (self._saved.values() if self._saved else [])
        return [np.array(value) for value in waiting]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Sets the values of `weights`.

        On an optimizer without slots they are kept, and checked when the first appear.

        Args:
            weights: arrays in the order and of the shapes of `get_weights`. Lists that
                OptimizerV2 accepts from Keras 1 and 2.0 are accepted too.

        Raises:
            ValueError: if the number of arrays, a shape or a dtype is wrong; nothing
                is changed then.
        """
        named = _named(weights)
        values = [np.array(value) for value in weights]
        if named is not None:
            self._load_saved(named)
        elif self.built:
            self._assign(values, self.weights)
        elif len(values) == 1 and values[0].shape == ():
            self._assign(values, [self.iterations])
        else:
            if values and values[0].shape == ():
                self._assign(values[:1], [self.iterations])
            self.__dict__.update(_pending=values, _saved=None)

    def _fit(self, values: list[np.ndarray], variables: Sequence[Any]) -> list[np.ndarray]:
        """The values as these variables take them; raises if they do not."""
        values = self._from_v1(values, len(variables))
        if len(values) != len(variables):
            raise ValueError(
                f"`weights` must have {len(variables)} arrays for `{self.name}` "
                f"({', '.join(_variables.path(v) for v in list(variables)[:4])}, ...); "
                f"got {len(values)}."
            )
        for value, variable in zip(values, variables, strict=True):
            if not variable.shape.is_compatible_with(value.shape):
                raise ValueError(
                    f"`weights` must have shape {variable.shape} for "
                    f"`{_variables.path(variable)}`; got {value.shape}."
                )
            dtype = variable.dtype.as_numpy_dtype
            if value.dtype.kind not in "iufb" and value.dtype != dtype:
                raise ValueError(
                    f"`weights` must hold numbers for `{_variables.path(variable)}`; "
                    f"got dtype {value.dtype}."
                )
            if variable.dtype.is_integer and not _holds(value, dtype):
                raise ValueError(
                    f"`weights` must hold whole numbers for `{_variables.path(variable)}`; "
                    f"got {value}."
                )
        return [
            value.astype(variable.dtype.as_numpy_dtype)
            for value, variable in zip(values, variables, strict=True)
        ]

    def _from_v1(self, values: list[np.ndarray], expected: int) -> list[np.ndarray]:
        """Older lists: without `iterations`, or with a slot that was never used."""
        if self.v1_weights == "no iterations" and len(values) == expected - 1:
            return [np.array(0), *values]
        count = (expected - 1) // 2
        if self.v1_weights == "unused slot" and len(values) == 3 * count + 1:
            return values[:expected]
        return values

    def _trackable_children(self, save_type: str = "checkpoint", **kwargs: Any) -> Any:
        """What checkpoints save, beside slots. Waiting state has no variables to be saved with."""
        if self._original is not None:
            self._become_copy()
        if self._pending or self._saved:
            warn(
                f"`{self.name}` holds loaded state for variables that it has not seen, which a "
                f"{save_type} cannot hold: call `build` with them first."
            )
        tracked = super()._trackable_children(save_type, **kwargs)  # type: ignore[misc]
        if save_type == "checkpoint":
            self.__dict__["_exported"] = _nothing
            return tracked
        tracked["iter"] = self.iterations
        exported = _export.children(tracked, self._hypers.values(), self._slots.items())
        self.__dict__["_exported"] = weakref.ref(exported["state"])
        return exported

    # --- Keras' files: .keras, .weights.h5 --------------------------------------------------------

    def save_own_variables(self, store: Any) -> None:
        """Writes the state and the numeric hyperparameters into a store of Keras'.

        Args:
            store: a mapping from names to arrays.
        """
        saved = self._to_saved()
        numbers = {
            f"hyper.{name}": _variables.value_of(value.variable)
            for name, value in self._hypers.items()
            if value.variable is not None and value.source is None
        }
        added = {f"weight.{name}": _variables.value_of(v) for name, v in self._added.items()}
        scalars = {f"state.{name}": value for name, value in saved.scalars.items()}
        pending = {f"pending.{number}": value for number, value in enumerate(self._pending)}
        values = {**numbers, **added, **scalars, **pending}
        for name, value in _layout.seal(values, type(self).__name__, saved.blocks).items():
            store[name] = value

    def load_own_variables(self, store: Any) -> None:
        """Reads what `save_own_variables` wrote.

        Slots find their variables by path; values of variables that the optimizer has not
        seen wait for them. The state of another optimizer is left alone, with a warning.

        Args:
            store: a mapping from names to arrays.

        Raises:
            ValueError: if a slot of this optimizer has no value, or one of another shape, or
                the checksum of the file is wrong; nothing is changed then.
        """
        values = {name: np.array(store[name]) for name in store.keys()}  # noqa: SIM118
        if _layout.LAYOUT not in values:
            warn(
                f"The state for `{self.name}` was saved by an optimizer that is not tfopt's, and "
                "is not loaded, as it does not say which one. Load it into that one, then give it "
                "to `tfopt.convert`."
            )
            return
        cls, blocks = _layout.open_sealed(values)
        if cls != type(self).__name__:
            warn(f"The state saved by {cls} is not loaded into {type(self).__name__}.")
            return
        variables = {f"weight.{name}": variable for name, variable in self._added.items()}
        for name, value in self._hypers.items():
            if value.source is None and value.number is not None:
                variables[f"hyper.{name}"] = value.read()
        others = [(v, values[name]) for name, v in variables.items() if name in values]
        waiting = _with_prefix(values, "pending.")
        pending = [waiting[number] for number in sorted(waiting, key=int)]
        if pending and self.built:
            self._fit(pending, self.weights)
        self._load_saved(Saved(_with_prefix(values, "state."), blocks), others)
        if pending:
            self.set_weights(pending)

    def _load_saved(self, saved: Saved, others: Sequence[tuple[Any, np.ndarray]] = ()) -> None:
        """Loads what there are slots for, all or nothing; the rest waits for its variables."""
        pairs = list(others)
        if self.built:
            blocks = [self._slots.items_of(block) for block in self._slots.blocks]
            pairs += [*self._matched(saved, blocks, strict=True), *self._match_scalars(saved)]
        elif "iterations" in saved.scalars:
            pairs.append((self.iterations, saved.scalars["iterations"]))
        self._assign_pairs(pairs)
        self.__dict__.update(_saved=saved if saved else None, _pending=[])

    def _to_saved(self) -> Saved:
        """The state apart from the variables, with what still waits for some."""
        waiting = self._saved
        if not self.built and waiting is not None:
            return waiting
        scalars = self._all_scalars()
        blocks = [
            [Entry(path, name, _variables.value_of(slot)) for path, name, slot in items]
            for items in map(self._slots.items_of, self._slots.blocks)
        ]
        blocks += waiting.blocks if waiting is not None else []
        return Saved({name: _variables.value_of(v) for name, v in scalars.items()}, blocks)

    # --- copies -----------------------------------------------------------------------------------

    def __reduce__(self) -> Any:
        added = {name: _variables.value_of(variable) for name, variable in self._added.items()}
        state = (self._to_saved(), list(self._pending), added)
        return _unpickle, (type(self), self.get_config(), *state)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """An optimizer of the same variables, or of their copies if `memo` has them.

        Whether it does is known when the whole deep copy is done: at the first use.
        """
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin._init_engine(self.name)
        engine = twin.__dict__.keys() | {"_hypers", "_statics", "_module_variables"}
        twin.__dict__.update(
            _statics=copy.copy(self._statics),
            _hypers=self._hypers.copy_for(twin, memo),
            _excluded=self._excluded.copy(),
            _pending_lr=self._pending_lr,
            _pending=list(self._pending),
        )
        for name, value in self.__dict__.items():
            if name not in engine and not name.startswith("_self_"):
                setattr(twin, name, copy.deepcopy(value, memo))
        for name, variable in self._added.items():
            twin._added[name] = copy.deepcopy(variable, memo)
            twin._track_trackable(twin._added[name], name, overwrite=True)
        twin.__dict__["_original"] = (
            [list(block) for block in self._slots.blocks],
            self._to_saved(),
            memo,
        )
        return twin

    def _become_copy(self) -> None:
        blocks, saved, memo = self._original
        self.__dict__["_original"] = None
        if not self._pending:
            self._load_saved(saved.copy())
        for block in blocks:
            self.build([memo.get(id(variable), variable) for variable in block])

    # --- tf.train.Checkpoint: OptimizerV2's slot-variable protocol --------------------------------

    def _create_or_restore_slot_variable(
        self,
        slot_variable_position: Any,
        slot_name: str,
        variable: Any,
        slot_variable_shape: Any = None,
    ) -> Any:
        """Called by a restore, for each slot value that the checkpoint holds."""
        # As `add_slot` will make it, for hooks, or as it is declared.
        dtype = None if self._is_declared else _variables.unwrap(variable).dtype
        return self._slots.restore(variable, slot_name, slot_variable_position, dtype)


def _where(layout: Any) -> str:
    return "on no DTensor mesh" if layout is None else f"on a DTensor mesh of {layout.mesh.size}"


def _nothing() -> None:
    """A reference to nothing, as a weak one is once its object is gone."""


def _unpickle(
    cls: Any,
    config: dict[str, Any],
    saved: Saved,
    pending: list[np.ndarray],
    added: dict[str, np.ndarray],
) -> Any:
    optimizer = cls.from_config(config)
    variables = [(v, added[name]) for name, v in optimizer._added.items() if name in added]
    optimizer._load_saved(saved, variables)
    if pending:
        optimizer.set_weights(pending)
    return optimizer


def _named(weights: Sequence[Any]) -> Saved | None:
    """Weights that know their names, as the datasets of an .h5 file do, else None."""
    names = []
    for value in weights:
        name = getattr(value, "name", None)
        if not isinstance(name, str) or "optimizer_weights/" not in name:
            return None
        names.append(re.sub(r":\d+$", "", name.split("optimizer_weights/", 1)[1]))
    values = [np.array(value) for value in weights]
    if not names or not names[0].endswith("/iter"):
        return None
    owner = names[0].removesuffix("iter")
    scalars, entries = {"iterations": values[0]}, []
    for name, value in zip(names[1:], values[1:], strict=True):
        path, _, slot = name.rpartition("/")
        if value.shape == () and path + "/" == owner:
            scalars[slot] = value
        else:
            entries.append(Entry(path, slot, value))
    return Saved(scalars, [entries])


def _with_prefix(values: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {n.removeprefix(prefix): value for n, value in values.items() if n.startswith(prefix)}


def _initial(initializer: Any, shape: Any, dtype: Any) -> Any:
    """A function of nothing that gives the first value of a variable."""
    if isinstance(initializer, str | dict | type) or callable(initializer):
        return functools.partial(initializers.get(initializer), shape, dtype=dtype)
    return functools.partial(tf.cast, initializer, dtype)


def _holds(values: np.ndarray, dtype: Any) -> bool:
    """Whether an integer dtype can hold values, as they are."""
    with np.errstate(invalid="ignore"):
        return np.array_equal(values.astype(dtype), values)


def _first(names: Any) -> str:
    names = list(names)
    return ", ".join(dict.fromkeys(names[:8])) or "none"
