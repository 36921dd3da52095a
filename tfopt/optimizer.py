"""The base of all optimizers: declarations, hooks for authors, and verbs of one line."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfopt._declarations import collect, constructor
from tfopt._declarations.constructor import Configurable
from tfopt._engine import apply_gradients, hooks
from tfopt._engine.engine import Engine
from tfopt._engine.policy import Policy
from tfopt._engine.step_in_progress import current_step
from tfopt._engine.update_paths import Path
from tfopt._engine.variable_groups import Scalars
from tfopt._keras.optimizer import KerasOptimizer
from tfopt._libraries import tf_variables
from tfopt._libraries.tf_variables import plain_python
from tfopt._policies.order import ORDER
from tfopt._state.public_methods import StateMethods
from tfopt._values import rows
from tfopt.hyper import Alias, Static


class Optimizer(Configurable, StateMethods, KerasOptimizer):
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
        return apply_gradients.apply(self._engine, grads_and_vars, name, aggregate)

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
        collect.lift(cls, policies)
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


collect.lift(Optimizer, ORDER)
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
