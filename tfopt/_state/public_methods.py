"""The methods of an optimizer that are about its variables: create, list, save and load them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tfopt import initializers
from tfopt._libraries import tf_variables
from tfopt._libraries.messages import shown
from tfopt._libraries.tf_variables import plain_python
from tfopt._libraries.warnings import warn
from tfopt._state import keras_files, pickle_and_deepcopy, saved_model
from tfopt._state.weight_order import CallableList

if TYPE_CHECKING:
    from tfopt._engine.engine import Engine


class StateMethods:
    """The public methods of an optimizer for its state, which is in its `_engine`."""

    name: str
    _engine: Engine

    # --- variables --------------------------------------------------------------------------------

    @property
    def iterations(self) -> Any:
        """The number of updates applied so far: an int64 variable, created on first use.

        You may replace it by a variable of your own before the optimizer is first used.
        """
        return self._engine.state.iterations

    @iterations.setter
    def iterations(self, variable: Any) -> None:
        variable, state = tf_variables.unwrap(variable), self._engine.state
        if not isinstance(variable, tf.Variable) or not variable.dtype.is_integer:
            raise TypeError(f"`iterations` must be an integer tf.Variable; got {shown(variable)}.")
        if state.step_counter is not None:
            raise RuntimeError(
                "`iterations` can only be replaced before the optimizer is used; "
                f"it is {shown(state.step_counter)} already; got {shown(variable)}."
            )
        state.count_steps_in(variable)

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
            name: its name, also in checkpoints.
            shape: its shape.
            dtype: its dtype; float32 by default.
            initializer: a name, config, instance or callable for
                `tfopt.initializers.get`, or the initial value itself.
            trainable: must not be True, because nothing trains an optimizer's state.
            synchronization: how replicas' copies are kept.
            aggregation: how replicas' assignments are combined.

        Returns:
            The variable. As in OptimizerV2, it is not in `weights`. To have scalars there, declare
            `state`.

        Raises:
            ValueError: if `trainable` is True, or the initializer is unknown.
        """
        if trainable:
            raise ValueError(
                f"`trainable` must not be True for an optimizer's state; got {trainable}."
            )
        dtype = tf.as_dtype(dtype or tf.float32)
        initial = _initial(initializer, tf.TensorShape(shape), dtype)
        options = {"synchronization": synchronization, "aggregation": aggregation}
        return self._engine.state.add_weight(name, initial, dtype, **options)

    def add_slot(
        self, var: Any, slot_name: str, initializer: Any = "zeros", shape: Any = None
    ) -> Any:
        """Adds the slot variable `slot_name` for `var`, or returns it if it exists.

        Args:
            var: the variable that the slot belongs to.
            slot_name: its name, as in `get_slot`.
            initializer: a name, config, instance or callable for
                `tfopt.initializers.get`, or the initial value itself.
            shape: its shape; that of `var` by default.

        Returns:
            A variable of the dtype of `var`, on the same device, and mirrored if `var` is.
        """
        variable = tf_variables.unwrap(var)
        whole = variable.shape.is_fully_defined()
        actual = shape if shape is not None else variable.shape if whole else tf.shape(variable)
        initial = _initial(initializer, actual, variable.dtype)
        shape = variable.shape if shape is None else tf.TensorShape(shape)
        return self._engine.state.add_slot(variable, slot_name, initial, shape)

    def get_slot(self, var: Any, slot_name: str) -> Any:
        """Returns the slot variable `slot_name` of `var`; for a sharded variable, a sharded one.

        Raises:
            KeyError: if it does not exist (yet): slots are created when `var` is first updated.
        """
        if not isinstance(tf_variables.unwrap(var), tf.Variable | tf_variables.ShardedVariable):
            raise KeyError(f"Not a variable: {shown(var)}.")  # checkpoints ask with every object
        slot = self._engine.state.slots.get(var, slot_name)
        if slot is None:
            raise KeyError(
                f"Variable `{tf_variables.variable_path(var)}` has no slot `{slot_name}`; "
                f"it has {sorted(self._engine.state.slots.of(var)) or 'none yet'}."
            )
        return slot

    def get_slot_names(self) -> list[str]:
        """Returns the names of the slots that exist."""
        if self._engine.state.is_exported:
            return []  # a SavedModel is being made, where they are plain variables
        return list(self._engine.state.slots.names)

    @property
    def weights(self) -> CallableList:
        """The state as variables: `iterations`, scalars, slots by block, then policies' state."""
        return CallableList(self._engine.state.weights())

    @property
    def variables(self) -> CallableList:
        """The same as `weights`; may also be called, as in tf-keras."""
        return self.weights

    @property
    def built(self) -> bool:
        """Whether the optimizer has seen variables, by `build` or in a step."""
        return self._engine.state.built

    @plain_python
    def build(self, var_list: Sequence[Any]) -> None:
        """Creates the state for variables not seen before. Optional: updates do it, too.

        Args:
            var_list: the variables.

        Raises:
            ValueError: if the arrays of an earlier `set_weights` do not fit.
        """
        self._engine.build(var_list)

    def create_slots(self, var_list: Sequence[Any]) -> None:
        """Creates the slots of variables that are seen for the first time.

        The default creates what `slots` declares. Override it, with `add_slot`, in an optimizer
        that also overrides `resource_apply_dense`.

        Args:
            var_list: the new variables.
        """
        self._engine.create_slots(var_list)

    # --- state in and out -------------------------------------------------------------------------

    def get_weights(self) -> list[np.ndarray]:
        """Returns the values of `weights`, as NumPy arrays; `iterations` first.

        Before there are slots, it returns the values that were loaded for them.
        """
        return self._engine.state.get_weights()

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Sets the values of `weights`.

        Before there are slots, the values are kept, and checked when the first slots are created.

        Args:
            weights: arrays in the order and of the shapes of `get_weights`. Lists that OptimizerV2
                accepts from Keras 1 and 2.0 are accepted, too.

        Raises:
            ValueError: if the number of arrays, a shape or a dtype is wrong. Then nothing is
                changed.
        """
        self._engine.state.set_weights(weights)

    def save_own_variables(self, store: Any) -> None:
        """Writes the state and the numeric hyperparameters into a Keras store.

        Args:
            store: a mapping from names to arrays.
        """
        keras_files.save(self._engine.state, type(self).__name__, store)

    def load_own_variables(self, store: Any) -> None:
        """Reads what `save_own_variables` wrote.

        Slots find their variables by path. Values for variables that the optimizer has not seen
        are kept until it sees them. The state of another optimizer is not loaded, with a warning.

        Args:
            store: a mapping from names to arrays.

        Raises:
            ValueError: if a slot of this optimizer has no value, or one of another shape, or the
                checksum of the file is wrong. Then nothing is changed.
        """
        keras_files.load(self._engine.state, type(self).__name__, store)

    def __reduce__(self) -> Any:
        return pickle_and_deepcopy.reduced(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Returns an optimizer for the same variables, or for their copies if `memo` has them."""
        return pickle_and_deepcopy.copied(self, memo)

    def _trackable_children(self, save_type: str = "checkpoint", **kwargs: Any) -> Any:
        """Returns what a checkpoint saves, except slots; or what a SavedModel holds."""
        state = self._engine.state
        _ = state.slots  # a deep copy is whole from here on
        state.create_restored()
        if state.waiting:
            warn(
                f"`{self.name}` holds loaded state for variables that it has not seen, which a "
                f"{save_type} cannot hold: call `build` with them first."
            )
        tracked = super()._trackable_children(save_type, **kwargs)  # type: ignore[misc]
        if save_type == "checkpoint":
            state.export_to(None)
            return tracked
        return saved_model.children(state, tracked)

    def _create_or_restore_slot_variable(
        self,
        slot_variable_position: Any,
        slot_name: str,
        variable: Any,
        slot_variable_shape: Any = None,
    ) -> Any:
        """Is called by checkpoints for each slot that is restored (OptimizerV2's protocol)."""
        return self._engine.restore_slot(variable, slot_name, slot_variable_position)


def _initial(initializer: Any, shape: Any, dtype: Any) -> Any:
    """Returns a function without arguments that returns the first value of a variable."""
    if isinstance(initializer, str | dict | type) or callable(initializer):
        return functools.partial(initializers.get(initializer), shape, dtype=dtype)
    return functools.partial(tf.cast, initializer, dtype)
