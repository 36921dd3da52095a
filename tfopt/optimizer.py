"""The base of all optimizers: declarations, hooks for authors, and verbs of one line."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt import initializers
from tfopt._declarations import constructor, declarations
from tfopt._declarations.constructor import Configurable
from tfopt._engine import entry, hooks
from tfopt._engine.ambient import current_step
from tfopt._engine.engine import Engine
from tfopt._engine.groups import Scalars
from tfopt._engine.paths import Path
from tfopt._engine.policy import Policy
from tfopt._keras.optimizer import KerasOptimizer
from tfopt._libraries import tf_variables
from tfopt._libraries.tf_variables import plain_python
from tfopt._libraries.warnings import warn
from tfopt._policies.order import ORDER
from tfopt._state import copies, keras_files, saved_model
from tfopt._state.state import CallableList
from tfopt._values import rows
from tfopt.hyper import Alias, Static


class Optimizer(Configurable, KerasOptimizer):
    """Base class of all optimizers: a `tf.Module` that Keras 3 and tf-keras accept as theirs.

    A subclass declares hyperparameters (`Hyper`, `Static`), slots and an `update`; or it
    overrides the hooks `create_slots`, `resource_apply_dense` and `resource_apply_sparse`.
    The constructor creates no variable: `iterations` and hyperparameters appear on first use,
    slots when a variable is first updated, each beside its variable.

    The order of a step: gradients are unscaled, accumulated, summed over replicas and checked
    to be finite; repeated indices are summed; then clipping, gradient transformers, weight
    decay, update, constraint, averages, `iterations` + 1. Newer Keras clips and decays before
    it sums over replicas.

    These are the keywords that all optimizers share. Numbers may be changed while training,
    by assigning to the attribute; what was None stays None once slots exist.

    Args:
        name: any non-empty name; the class name by default.
        lr: another name for `learning_rate`.
        decay: inverse-time decay of the learning rate, at least 0: it is divided by
            1 + decay * iterations.
        clipvalue: gradients are clipped to [-clipvalue, clipvalue], at least 0.
        clipnorm: each gradient is scaled down to this Euclidean norm, at least 0.
        global_clipnorm: all gradients are scaled down by one factor, so that their joint norm
            is at most this; not together with `clipnorm`. A norm that is not finite makes the
            scaled gradients not finite.
        weight_decay: decoupled weight decay: before the update x becomes
            x - learning_rate * weight_decay * x; of rows only, where only rows are updated.
        exclude_from_weight_decay: variables, and regular expressions searched for in
            variables' paths, that do not decay. Also a method.
        gradient_aggregator: a function from (gradient, variable) pairs to such pairs, in
            place of the sum over replicas.
        gradient_transformers: functions from such pairs to such pairs, called in turn after
            clipping.
        lazy: what an `IndexedSlices` gradient does. None: what OptimizerV2 does, as each
            optimizer's page says. True: only the gradient's rows of variable and slots are
            read or written, and the cost does not grow with the table. False: exactly what the
            dense gradient would.
        jit_compile: "auto" takes a fused kernel where there is one, else a function compiled
            by XLA that variables of a shape share. True always compiles, False never.
        gradient_accumulation_steps: how many calls' gradients are averaged before they are
            applied, at least 1: replicas sum, and `iterations`, schedules, clipping and averages
            advance, only then. Calls are counted for each set of variables that was first seen
            together; each of them should come with a gradient, or without, in all calls of a
            window: what one has accumulated waits for the last call of a window that brings a
            gradient for it. See `flush`.
        use_ema: whether to keep an average of each variable, from its first value on: after
            each step it becomes ema_momentum * average + (1 - ema_momentum) * variable. See
            `averaged_weights` and `finalize_variable_values`.
        ema_momentum: between 0 and 1.
        ema_overwrite_frequency: after how many steps, each time, variables become their
            averages; None for never.
        loss_scale_factor: what the loss was multiplied by, see `scale_loss`; above 0.
            Gradients are divided by it. `minimize` does both.
        skip_nonfinite: whether a step is left out, with nothing changed, when a gradient,
            summed over replicas, has an infinity or NaN; `skipped_steps` counts them.
        master_weights: whether variables of float16 and bfloat16 are kept in float32 as well,
            so that small steps add up. A value assigned to the variable counts.
        shard_slots: the name of a dimension of a DTensor mesh over which slots are split, each
            along its first axis that divides evenly, while variables stay as they are (ZeRO-1):
            each device keeps, and computes, a part of the update, and all get the whole.

    Dtypes:
        Variables of float16, bfloat16, float32 and float64; arithmetic and slots are float32
        at least, with one rounding at the write. Complex variables where the optimizer says so.

    Raises:
        TypeError: for an unknown keyword, or one given twice.
        ValueError: for a value out of range, naming it.

    >>> class SignSGD(tfopt.Optimizer):
    ...     learning_rate = tfopt.Hyper(0.1, low=0)
    ...
    ...     def update(self, g, x, s, h):
    ...         return x - h.learning_rate * tf.sign(g)
    >>> x = tf.Variable([1.0, -2.0])
    >>> _ = SignSGD().minimize(lambda: tf.reduce_sum(x * x), [x])
    >>> x.numpy()
    array([ 0.9, -1.9], dtype=float32)
    """

    lr = Alias("learning_rate")
    lazy = Static(None, choices=(None, True, False))
    jit_compile = Static("auto", choices=("auto", True, False))
    shard_slots = Static(None)

    # --- what an optimizer declares ---------------------------------------------------------------

    sparse: Any = "whole"  # what an IndexedSlices gradient means: a word of `engine.SPARSE`
    decays: str | None = "base"  # who decays weights: "base", "own" (`update`), None (nobody)
    complex_numbers = False  # whether complex variables are taken
    state: Mapping[str, float] = {}  # scalars of the whole optimizer: {name: initial value}
    fused_takes: frozenset[str] = frozenset()  # of "clip_factor", "decay_rate": see `fused`
    slot_order = "slot"  # in a block: "slot" after slot, or "variable" after variable

    def slots(self, x: Any) -> dict[str, Any]:
        """The slots of a variable, by name.

        Args:
            x: the variable.

        Returns:
            {name: how it starts}: `zeros(x)`, `zeros(x, axis=)` for means of `x` over an
            axis, `full(x, value)`, `copy(x)`, or a value of any shape.
        """
        return {}

    def begin(self, h: Scalars, state: Scalars) -> None:
        """Adds to `h` what all variables share, and advances `state`.

        Args:
            h: the hyperparameters and `h.t`, as in `update`.
            state: the scalars that the class declares in `state`; assign to its attributes.

        It is called once a step for each dtype of arithmetic, and for each group of variables
        that has numbers of its own. What counts of `state` is what the group of everybody makes
        of it, in the dtype in which the scalar is stored.
        """

    def update(self, g: Any, x: Any, s: Scalars, h: Scalars) -> Any:
        """The update of one variable, or of any rows of it.

        Args:
            g: the gradient, in the compute dtype.
            x: the value.
            s: the slots; assign to its attributes to change them.
            h: the hyperparameters and `h.t`, the number of this step from 1, as scalars,
                and what `begin` added.

        Returns:
            The new value.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must define `update`, or `resource_apply_dense`."
        )

    def fused(self, g: Any, var: Any, s: Scalars, h: Scalars) -> Any:
        """The same as `update`, by a kernel on variables; `NotImplemented` where there is none.

        It is called for dense gradients of the variable's dtype, float32 or float64, where slots
        have that dtype, too, and where there is neither a clip factor nor weight decay: but for
        those that `fused_takes` names.

        Args:
            g: the gradient.
            var: the variable.
            s: the slots, as variables.
            h: as in `update`.
        """
        return NotImplemented

    def uses(self, name: str) -> bool:
        """Whether a hyperparameter that can be off takes part in the update."""
        return self._engine.uses(name)

    # --- a step -----------------------------------------------------------------------------------

    @plain_python
    def apply_gradients(
        self,
        grads_and_vars: Iterable[tuple[Any, Any]],
        name: str | None = None,
        experimental_aggregate_gradients: bool = True,
        *,
        skip_gradients_aggregation: bool = False,
    ) -> Any:
        """Applies gradients to variables: one step.

        Under a `tf.distribute.Strategy` the gradients of all replicas are summed first.
        Then repeated indices of `IndexedSlices` are summed, gradients clipped, weights
        decayed, variables and slots updated, constraints applied, `iterations` advanced.

        Args:
            grads_and_vars: (gradient, variable) pairs. A gradient is a tensor or
                `tf.IndexedSlices` of the variable's shape and dtype, or None.
            name: a name for the operation in a graph.
            experimental_aggregate_gradients: False if the gradients are summed already.
            skip_gradients_aggregation: tf-keras' word for the opposite.

        Returns:
            The new value of `iterations`; in a v1 graph the operation.

        Raises:
            TypeError: if `grads_and_vars` is malformed.
            ValueError: if a gradient does not fit its variable, or no variable has one.
            RuntimeError: in cross-replica context; or if a gradient of rows meets a
                variable with a constraint.
            NotImplementedError: for summed gradients, where replicas share variables; for
                a gradient of rows of a DTensor variable.
        """
        aggregate = experimental_aggregate_gradients and not skip_gradients_aggregation
        return entry.apply(self._engine, grads_and_vars, name, aggregate)

    def resource_apply_dense(self, grad: Any, var: Any) -> Any:
        """Updates one variable with a dense gradient. Override it to write an optimizer by hooks.

        Args:
            grad: the gradient, aggregated and clipped.
            var: the variable: one replica's copy, if it is mirrored.

        Returns:
            An operation, or None.
        """
        step = current_step(self._engine, "resource_apply_dense")
        hooks.run_declared(self._engine, step, var, self._engine.work_of(var, grad))

    def resource_apply_sparse(self, grad: Any, var: Any, indices: Any) -> Any:
        """Updates one variable with a gradient for some of its rows.

        Args:
            grad: the rows of the gradient.
            var: the variable: one replica's copy, if it is mirrored.
            indices: which rows they are; none is repeated.

        Returns:
            An operation, or None.
        """
        step = current_step(self._engine, "resource_apply_sparse")
        if self._engine.densifies:
            return self.resource_apply_dense(rows.densify(grad, indices, var), var)
        slices = tf.IndexedSlices(grad, indices)
        hooks.run_declared(self._engine, step, var, self._engine.work_of(var, slices))

    def _decayed_lr(self, var_dtype: Any) -> Any:
        """The learning rate of this step, after `decay`, for use in hooks."""
        rate = self._get_hyper("learning_rate", var_dtype)
        steps = tf_variables.as_scalar(self.iterations, var_dtype)
        return rate / (1 + self._get_hyper("decay", var_dtype) * steps)

    # --- construction -----------------------------------------------------------------------------

    def __init_subclass__(
        cls,
        policies: Sequence[type[Policy]] = (),
        paths: Sequence[type[Path]] = (),
        engine: type[Engine] | None = None,
        uncalled: Mapping[str, str] | None = None,
        reserved: Collection[str] = (),
        tracks_attributes: bool = True,
        shared: bool = False,
        **kwargs: Any,
    ) -> None:
        """Collects what the class declares.

        Args:
            policies: further policies that it may use, which act after those of its base.
            paths: further ways to run updates, which are asked before those of its base.
            engine: the class of its parts, for another order of a step.
            uncalled: names that must not be defined, as nothing calls them, and what is called.
            reserved: further names that tfopt keeps for itself: subclasses must not redefine them.
            tracks_attributes: False if what is assigned to attributes is not to be saved.
            shared: the promise that `begin` and `update` read nothing but what the class declares:
                then its optimizers share what XLA compiles, as tfopt's own do.
            **kwargs: for other base classes.
        """
        super().__init_subclass__(**kwargs)
        declarations.lift(cls, policies)
        constructor.declare(
            cls,
            Optimizer,
            policies=policies,
            paths=paths,
            engine=engine,
            uncalled=uncalled or {},
            reserved=reserved,
            tracks_attributes=tracks_attributes,
            shared=shared,
        )

    # --- variables --------------------------------------------------------------------------------

    @property
    def iterations(self) -> Any:
        """The number of updates applied so far: an int64 variable, created on first use.

        It may be replaced by a variable of your own before the optimizer is first used.
        """
        return self._engine.state.iterations

    @iterations.setter
    def iterations(self, variable: Any) -> None:
        variable, state = tf_variables.unwrap(variable), self._engine.state
        if not isinstance(variable, tf.Variable) or not variable.dtype.is_integer:
            raise TypeError(f"`iterations` must be an integer tf.Variable; got {variable!r}.")
        if state.step_counter is not None:
            raise RuntimeError(
                "`iterations` can only be replaced before the optimizer is used; "
                f"it is {state.step_counter!r} already; got {variable!r}."
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
        initial = _initial(initializer, tf.TensorShape(shape), dtype)
        options = {"synchronization": synchronization, "aggregation": aggregation}
        return self._engine.state.add_weight(name, initial, dtype, **options)

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
        variable = tf_variables.unwrap(var)
        whole = variable.shape.is_fully_defined()
        actual = shape if shape is not None else variable.shape if whole else tf.shape(variable)
        state = self._engine.state
        with state.lock:
            return state.slots.add(
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
        if not isinstance(tf_variables.unwrap(var), tf.Variable | tf_variables.ShardedVariable):
            raise KeyError(f"Not a variable: {var!r}.")  # checkpoints ask with every object
        slot = self._engine.state.slots.get(var, slot_name)
        if slot is None:
            raise KeyError(
                f"Variable `{tf_variables.path(var)}` has no slot `{slot_name}`; "
                f"it has {sorted(self._engine.state.slots.of(var)) or 'none yet'}."
            )
        return slot

    def get_slot_names(self) -> list[str]:
        """The names of the slots that exist."""
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
        """Whether the optimizer has seen variables."""
        return self._engine.state.built

    @plain_python
    def build(self, var_list: Sequence[Any]) -> None:
        """Creates the state for variables not seen before. Optional: updates do it too.

        Args:
            var_list: the variables.

        Raises:
            ValueError: if what `set_weights` was given earlier does not fit.
        """
        self._engine.build(var_list)

    def create_slots(self, var_list: Sequence[Any]) -> None:
        """Creates the slots of variables seen for the first time.

        The default creates what `slots` declares. Override it, with `add_slot`, in an
        optimizer that also overrides `resource_apply_dense`.

        Args:
            var_list: the new variables.
        """
        self._engine.create_slots(var_list)

    # --- state in and out -------------------------------------------------------------------------

    def get_weights(self) -> list[np.ndarray]:
        """The values of `weights`, as NumPy arrays; `iterations` first.

        Before there are slots, what was loaded for them.
        """
        return self._engine.state.get_weights()

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
        self._engine.state.set_weights(weights)

    def save_own_variables(self, store: Any) -> None:
        """Writes the state and the numeric hyperparameters into a store of Keras'.

        Args:
            store: a mapping from names to arrays.
        """
        keras_files.save(self._engine.state, type(self).__name__, store)

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
        keras_files.load(self._engine.state, type(self).__name__, store)

    def __reduce__(self) -> Any:
        return copies.reduced(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """An optimizer of the same variables, or of their copies if `memo` has them."""
        return copies.copied(self, memo)

    def _trackable_children(self, save_type: str = "checkpoint", **kwargs: Any) -> Any:
        """What checkpoints save, beside slots; what a SavedModel holds."""
        state = self._engine.state
        if state.waiting:
            warn(
                f"`{self.name}` holds loaded state for variables that it has not seen, which a "
                f"{save_type} cannot hold: call `build` with them first."
            )
        _ = state.slots  # a deep copy is whole from here on
        tracked = super()._trackable_children(save_type, **kwargs)
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
        """OptimizerV2's protocol of slot variables: called for each slot that is restored."""
        return self._engine.restore_slot(variable, slot_name, slot_variable_position)


declarations.lift(Optimizer, ORDER)
constructor.declare(
    Optimizer,
    Optimizer,
    policies=ORDER,
    paths=(),
    engine=Engine,
    reserved={"_engine"},
    tracks_attributes=True,
    shared=False,
    uncalled={  # hooks of OptimizerV2's
        "_create_slots": "create_slots",
        "_resource_apply_dense": "resource_apply_dense",
        "_resource_apply_sparse": "resource_apply_sparse",
    },
)


def _initial(initializer: Any, shape: Any, dtype: Any) -> Any:
    """A function of nothing that gives the first value of a variable."""
    if isinstance(initializer, str | dict | type) or callable(initializer):
        return functools.partial(initializers.get(initializer), shape, dtype=dtype)
    return functools.partial(tf.cast, initializer, dtype)
