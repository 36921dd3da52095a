"""An optimizer's state: its variables, in one order, and the ways in and out."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt import _variables, initializers
from tfopt._slots import Initial, Slots

FORMAT = "tfopt-1"


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
    _set_name: Any
    _track_trackable: Any

    _slot_variables: Slots
    _scalars: dict[str, Any]
    _iterations: Any
    _pending: list[list[np.ndarray]]
    _original: Any
    _pending_lr: Any
    _names: _variables.Names

    def _init_state(self) -> None:
        self.__dict__.update(
            _slot_variables=Slots(),
            _scalars={},
            _iterations=None,
            _pending=[],  # values that wait for their block of slots, a list for each
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
        """The slot variable `slot_name` of `var`.

        Raises:
            KeyError: if there is none (yet): slots appear when `var` is first updated.
        """
        if not isinstance(_variables.unwrap(var), tf.Variable):
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
        return list(self._slots.names)

    @property
    def weights(self) -> CallableList:
        """The state as variables: `iterations`, scalars, then slots by block."""
        return CallableList([self.iterations, *self._scalars.values(), *self._slots])

    @property
    def variables(self) -> CallableList:
        """The same as `weights`; may also be called, as in tf-keras."""
        return self.weights

    # --- a block of slots -------------------------------------------------------------------------

    @property
    def built(self) -> bool:
        """Whether the optimizer has seen variables."""
        return bool(self._slots.variables)

    def build(self, var_list: Sequence[Any]) -> None:
        """Creates the state for variables not seen before. Optional: updates do it too.

        Args:
            var_list: the variables.

        Raises:
            ValueError: if what `set_weights` was given earlier does not fit.
        """
        self._slots.name(var_list)
        variables = [_variables.unwrap(variable) for variable in var_list]
        self._check_arguments()
        if self._pending_lr is not None:
            raise TypeError(
                f"`lr`={self._pending_lr!r} has no effect: {type(self).__name__} never "
                "called `_set_hyper('learning_rate', ...)`."
            )
        _ = self.iterations
        self._hypers.create()
        new = {
            _variables.key(variable): variable
            for variable in variables
            if _variables.key(variable) not in self._slots.variables
        }
        if not new:
            return
        before = list(self._slots) if self.built else []
        self._create_scalars(variables)
        self.create_slots(list(new.values()))
        if self._pending:
            self._load_pending(len(before))
        self._slots.variables.update(new)
        self._slots.blocks.append(list(new.values()))
        self._hypers.freeze()
        self._expose_weights()

    def _load_pending(self, old_slots: int) -> None:
        """Gives the new slots the values that wait for them, or takes the slots back."""
        variables = list(self._slots)[old_slots:]
        if not self.built:
            variables = [self.iterations, *self._scalars.values(), *variables]
        try:
            values = self._fit(self._pending[0], variables)
        except ValueError as error:
            self._slots.forget(variables)
            raise ValueError(
                f"What `set_weights` was given before there were slots does not fit: {error}"
            ) from None
        del self._pending[0]
        _variables.assign_all(list(zip(variables, values, strict=True)))

    def _create_scalars(self, variables: Sequence[Any]) -> None:
        dtype = _variables.compute_dtype(variables[0].dtype)
        for name, value in self.state.items():
            if name not in self._scalars:
                self._scalars[name] = self._scalar(name, value, dtype)
                self._track_trackable(self._scalars[name], name)

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
            self._declare_slot(variable, name, slots[name])

    def _declare_slot(self, variable: Any, name: str, initial: Any) -> None:
        dtype = _variables.compute_dtype(variable.dtype)
        if isinstance(initial, Initial):
            initial, shape = functools.partial(initial.make, variable, dtype), variable.shape
        else:
            with tf.init_scope():
                initial = tf.convert_to_tensor(initial)
            dtype, shape = initial.dtype, initial.shape
        self._slots.add(variable, name, initial, dtype, shape)

    def _expose_weights(self) -> None:
        """Lets a `tf.Module` that holds the optimizer find its variables.

        Not a tracked attribute: checkpoints know slots by the slot-variable protocol.
        """
        self.__dict__["_module_variables"] = list(self.weights)

    # --- values -----------------------------------------------------------------------------------

    def get_weights(self) -> list[np.ndarray]:
        """The values of `weights`, as NumPy arrays; `iterations` first.

        Before there are slots, what `set_weights` was given.
        """
        waiting = [value.copy() for block in self._pending for value in block]
        return [
            *(_variables.values_of(self.weights) if self.built or not waiting else ()),
            *waiting,
        ]

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
        values = [np.array(value) for value in weights]
        if self.built:
            self._load(self._fit(values, self.weights))
        elif len(values) == 1 and values[0].shape == ():
            self._load(self._fit(values, [self.iterations]))
        else:
            self.__dict__["_pending"] = [values] if values else []

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
            if variable.dtype.is_integer and not np.all(value == np.floor(value)):
                raise ValueError(
                    f"`weights` must hold whole numbers for `{_variables.path(variable)}`; "
                    f"got {value}."
                )
            if value.dtype.kind not in "iufb" and value.dtype != variable.dtype.as_numpy_dtype:
                raise ValueError(
                    f"`weights` must hold numbers for `{_variables.path(variable)}`; "
                    f"got dtype {value.dtype}."
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

    def _load(self, values: Sequence[np.ndarray]) -> None:
        _variables.assign_all(list(zip(self.weights, values, strict=True)))

    # --- Keras' files: .keras, .weights.h5 --------------------------------------------------------

    def save_own_variables(self, store: Any) -> None:
        """Writes the state and the numeric hyperparameters into a store of Keras'.

        Args:
            store: a mapping from names to arrays.
        """
        if not self.built:
            for number, value in enumerate(value for block in self._pending for value in block):
                store[f"pending.{number}"] = value
        layout = []
        for number, (path, name, slot) in enumerate(self._slots.items()):
            layout.append([path, name])
            store[f"slot.{number}"] = _variables.value_of(slot)
        scalars = {"iterations": self.iterations, **self._scalars}
        for name, variable in scalars.items():
            store[f"state.{name}"] = _variables.value_of(variable)
        for name, value in self._hypers.items():
            if value.variable is not None and value.source is None:
                store[f"hyper.{name}"] = _variables.value_of(value.variable)
        text = json.dumps({"format": FORMAT, "slots": layout})
        store["layout"] = np.frombuffer(text.encode(), np.uint8)

    def load_own_variables(self, store: Any) -> None:
        """Reads what `save_own_variables` wrote.

        Slots go to the variables of the same paths, or, where the model's paths are
        others, to those in the same order.

        Args:
            store: a mapping from names to arrays.

        Raises:
            ValueError: if the store is not of an optimizer of tfopt, or a count, name or
                shape differs from what this optimizer has; nothing is changed then.
        """
        values = {name: np.array(store[name]) for name in store.keys()}  # noqa: SIM118
        if "layout" not in values:
            raise ValueError(
                f"The state to load into `{self.name}` was not saved by tfopt; "
                f"it has the entries {sorted(values)[:6]}."
            )
        layout = json.loads(values["layout"].tobytes().decode())
        if layout["format"] != FORMAT:
            raise ValueError(f"The state's format must be {FORMAT!r}; got {layout['format']!r}.")
        pending = sum(name.startswith("pending.") for name in values)
        if pending:
            self.set_weights([values[f"pending.{number}"] for number in range(pending)])
            return
        pairs = [
            *self._match_scalars(values),
            *self._match_slots(layout["slots"], values),
            *self._match_hypers(values),
        ]
        targets = [variable for variable, _ in pairs]
        fitted = self._fit([value for _, value in pairs], targets)
        _variables.assign_all(list(zip(targets, fitted, strict=True)))

    def _match_scalars(self, values: dict[str, np.ndarray]) -> list[tuple[Any, np.ndarray]]:
        scalars = {"state.iterations": self.iterations}
        scalars.update({f"state.{name}": scalar for name, scalar in self._scalars.items()})
        saved = {name for name in values if name.startswith("state.")}
        if saved != scalars.keys():
            raise ValueError(
                f"`{self.name}` has the scalars {sorted(scalars)}; the saved state {sorted(saved)}."
            )
        return [(scalar, values[name]) for name, scalar in scalars.items()]

    def _match_slots(
        self, layout: list[list[str]], values: dict[str, np.ndarray]
    ) -> list[tuple[Any, np.ndarray]]:
        mine = list(self._slots.items())
        if [name for _, name in layout] != [name for _, name, _ in mine]:
            raise ValueError(
                f"`{self.name}` has {len(mine)} slots ({_first(n for _, n, _ in mine)}); "
                f"the saved state has {len(layout)} ({_first(n for _, n in layout)})."
            )
        saved = {tuple(entry): number for number, entry in enumerate(layout)}
        by_path = len(saved) == len(layout) and saved.keys() == {(p, n) for p, n, _ in mine}
        return [
            (slot, values[f"slot.{saved[path, name] if by_path else number}"])
            for number, (path, name, slot) in enumerate(mine)
        ]

    def _match_hypers(self, values: dict[str, np.ndarray]) -> list[tuple[Any, np.ndarray]]:
        pairs = []
        for entry, value in values.items():
            prefix, _, name = entry.partition(".")
            mine = self._hypers.get(name) if prefix == "hyper" else None
            if mine is not None and mine.source is None:
                pairs.append((mine.read(), value))
        return [(variable, value) for variable, value in pairs if variable is not None]

    # --- copies -----------------------------------------------------------------------------------

    def __reduce__(self) -> Any:
        return _unpickle, (type(self), self.get_config(), self._blocks_of_values())

    def _blocks_of_values(self) -> list[list[np.ndarray]]:
        """`get_weights`, block by block; the first has the scalars too."""
        if not self.built:
            return list(self._pending) or [self.get_weights()]
        values, blocks = self.get_weights(), []
        start, stop = 0, 1 + len(self._scalars)
        for variables in self._slots.blocks:
            stop += sum(len(self._slots.of(variable)) for variable in variables)
            blocks.append(values[start:stop])
            start = stop
        return [*blocks, *self._pending]

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """An optimizer of the same variables, or of their copies if `memo` has them.

        Whether it does is known when the whole deep copy is done: at the first use.
        """
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin._set_name(self.name)
        engine = twin.__dict__.keys() | {"_hypers", "_statics", "_module_variables"}
        twin.__dict__["_statics"] = copy.copy(self._statics)
        twin.__dict__["_hypers"] = self._hypers.copy_for(twin, memo)
        for name, value in self.__dict__.items():
            if name not in engine and not name.startswith("_self_"):
                twin.__dict__[name] = copy.deepcopy(value, memo)
        twin.__dict__["_excluded"] = copy.copy(self._excluded)
        twin.__dict__["_original"] = (
            [list(block) for block in self._slots.blocks],
            self._blocks_of_values(),
            memo,
        )
        return twin

    def _become_copy(self) -> None:
        blocks, values, memo = self._original
        self.__dict__["_original"] = None
        if not blocks and len(values[0]) == 1:
            self.set_weights(values[0])
            return
        self.__dict__["_pending"] = values
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
        dtype = _variables.compute_dtype(_variables.unwrap(variable).dtype)
        return self._slots.restore(variable, slot_name, slot_variable_position, dtype)


def _unpickle(cls: Any, config: dict[str, Any], blocks: list[list[np.ndarray]]) -> Any:
    optimizer = cls.from_config(config)
    if len(blocks) == 1:
        optimizer.set_weights(blocks[0])
    else:
        optimizer.__dict__["_pending"] = blocks
    return optimizer


def _initial(initializer: Any, shape: Any, dtype: Any) -> Any:
    """A function of nothing that gives the first value of a variable."""
    if isinstance(initializer, str | dict | type) or callable(initializer):
        return functools.partial(initializers.get(initializer), shape, dtype=dtype)
    return functools.partial(tf.cast, initializer, dtype)


def _first(names: Any) -> str:
    names = list(names)
    return ", ".join(dict.fromkeys(names[:8])) or "none"
