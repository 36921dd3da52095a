"""The base class of all optimizers: their keywords, `apply_gradients`, and hooks for updates."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfopt._declarations import collect, constructor
from tfopt._declarations.constructor import Configurable
from tfopt._declarations.formula import Formula
from tfopt._engine import apply_gradients, hooks
from tfopt._engine.engine import Engine
from tfopt._engine.policy import Policy
from tfopt._engine.step_in_progress import current_step
from tfopt._engine.update_paths import Path
from tfopt._keras.optimizer import KerasOptimizer
from tfopt._libraries import tf_variables
from tfopt._libraries.tf_variables import plain_python
from tfopt._policies.order import ORDER
from tfopt._state.public_methods import StateMethods
from tfopt._values import rows
from tfopt.hyper import Alias, Static


class Optimizer(Formula, Configurable, StateMethods, KerasOptimizer):
    """Base class of all optimizers, for Keras 3, tf-keras and training loops of your own.

    It is a `tf.Module`. A subclass declares hyperparameters (`Hyper`, `Static`), slots and an
    `update`; or it overrides the hooks `create_slots`, `resource_apply_dense` and
    `resource_apply_sparse`. The constructor creates no variable: `iterations` and hyperparameters
    are created on first use, and slots when a variable is first updated, placed as it is.

    The order of a step: unscale, accumulate, sum over replicas, check that all gradients are
    finite, sum repeated indices, clip, transform, decay, update, constraint, average,
    `iterations` + 1. Weight decay is part of the update and comes before the formula. Keras 3, in
    contrast, clips gradients and decays weights before it sums over replicas.

    All optimizers share the following keywords. Assign to change a number while training:
    `opt.learning_rate = 1e-4`. An option that was None when the slots were created cannot be
    switched on afterwards.

    Args:
        name: any non-empty name; the class name by default.
        lr: another name for `learning_rate`.
        decay: inverse-time decay of the learning rate, at least 0: the learning rate is divided
            by 1 + decay * iterations.
        clipvalue: each number of a gradient is clipped to [-clipvalue, clipvalue]; at least 0.
        clipnorm: each gradient is scaled down so that its Euclidean norm is at most this; at
            least 0. If that norm is not finite, or overflows, finite numbers become 0.
        global_clipnorm: all gradients are scaled down by one factor, so that their joint norm
            is at most this; not together with `clipnorm`. If that norm is not finite, or
            overflows, all gradients become NaN.
        weight_decay: decoupled weight decay: before the update, x becomes
            x - learning_rate * weight_decay * x. Where only the rows in the batch are updated,
            only these rows decay.
        exclude_from_weight_decay: the variables that do not decay: a list of variables, layers,
            functions of a variable, and regular expressions that are searched for in paths. There
            is a method of this name, too.
        cautious: whether only those weights move whose step and gradient agree in sign. Not all
            optimizers support it. Gradients of rows are made dense, and `lazy=True` raises.
        cautious_weight_decay: whether only those weights decay that the step does not move away
            from 0.
        groups: parts of a model with numbers of their own: a mapping from members to numbers, such
            as {"encoder": {"learning_rate": 1e-5}}, or a list of such mappings and of pairs. See
            the attribute `groups`, and `tfopt.groups`.
        gradient_aggregator: a function from (gradient, variable) pairs to such pairs, which is
            called in place of the sum over replicas.
        all_reduce_dtype: "bfloat16" or "float16": dense gradients are rounded to it and summed over
            replicas in it, which halves the bytes between devices. float16 has more digits, but
            sums above 65504 overflow. Gradients of rows are sent as they are, and one replica alone
            rounds nothing. None: gradients are summed in their own dtype.
        gradient_transformers: functions from such pairs to such pairs, which are called in turn
            after clipping.
        lazy: what happens to rows that are not in the batch, for `IndexedSlices` gradients.
            True: they do not change, and the cost does not grow with the table. False: exactly
            what a dense gradient would give. None: what OptimizerV2 does, as each optimizer's
            page says.
        jit_compile: "auto" uses a fused kernel if there is one, or else a function compiled by
            XLA that variables of one shape share. True always compiles, False never.
        gradient_accumulation_steps: how many calls make one step, with the mean of their
            gradients; at least 1. Gradients are summed over replicas, and `iterations`,
            schedules, clipping and averages advance, only at the last call. Calls are counted
            for each set of variables that was first seen together. Each variable should have
            a gradient in all calls of a step, or in none. If it has none in the last call, its sum
            waits for a later step with a gradient in its last call. End a step with the set of
            variables with which it began: the mean divides by the calls of that set. See `flush`.
        use_ema: whether to keep an exponential moving average (EMA) of each variable. It starts
            as a copy of the variable; after each step it becomes
            ema_momentum * average + (1 - ema_momentum) * variable. See `evaluation_weights` and
            `finalize_variable_values`. Averages count steps by `iterations`: do not set them back.
        ema_momentum: between 0 and 1.
        ema_dynamic_decay: whether step n uses at most (1 + n) / (10 + n) as momentum, so that the
            first values are soon forgotten.
        ema_start_step: until this step, at least 0, an average is the variable itself.
        ema_overwrite_frequency: after how many steps the averages replace the values of the
            variables, again and again; None for never.
        loss_scale_factor: the number by which the loss was multiplied (see `scale_loss`); above
            0. Gradients are divided by it. `minimize` does both.
        skip_nonfinite: whether to skip a step, with nothing changed, if a gradient has an
            infinity or NaN after the sum over replicas. `skipped_steps` counts these steps.
        master_weights: whether to keep variables of float16 and bfloat16 in float32 as well,
            so that small steps add up. If you assign a value to the variable, the next step
            starts from that value.
        shard_slots: the name of a dimension of a DTensor mesh. Slots are split over it, while
            variables stay whole (ZeRO-1). Each device keeps a part of the slots and
            computes this part of the update; all devices get the whole variable. A slot is
            split along its first axis that divides evenly.

    Dtypes:
        Variables may be float16, bfloat16, float32 or float64, and complex where the optimizer's
        page says so. Arithmetic and slots are float32 at least; a result is rounded once, when it
        is written.

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
    shard_slots = Static(None, annotation="str | None")

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
        """Makes one step: applies gradients to variables.

        The docstring of the class gives the order of a step. Under a `tf.distribute.Strategy` the
        gradients of all replicas are summed.

        Args:
            grads_and_vars: (gradient, variable) pairs. A gradient is a tensor, array, list or
                `tf.IndexedSlices` of the variable's shape, or None. A gradient of another float
                dtype is cast. If a variable has `overwrite_with_gradient` set, as in Keras' float8
                training, the largest gradient of all replicas, and of all calls of a window,
                becomes its value.
            name: a name for the operation in a graph.
            experimental_aggregate_gradients: False if the gradients are summed already.
            skip_gradients_aggregation: the same for tf-keras: True if they are summed already.

        Returns:
            The new value of `iterations`; in a v1 graph the operation.

        Raises:
            TypeError: if `grads_and_vars` is malformed.
            ValueError: if a gradient does not fit its variable, or no variable has one.
            RuntimeError: in cross-replica context; or if a variable has a constraint and a
                gradient that updates only rows.
            NotImplementedError: for gradients that are summed already, where replicas share
                variables; for a sparse gradient of a DTensor variable.
        """
        aggregate = experimental_aggregate_gradients and not skip_gradients_aggregation
        engine = self._engine
        through = engine.goes_through_apply and engine.overrides("apply", Optimizer.apply)
        make_step = apply_gradients.apply_through if through else apply_gradients.apply
        return make_step(engine, grads_and_vars, name, aggregate)

    def resource_apply_dense(self, grad: Any, var: Any) -> Any:
        """Updates one variable with a dense gradient. Override it to write an optimizer by hooks.

        Args:
            grad: the gradient, summed over replicas and clipped.
            var: the variable: one replica's copy, if it is mirrored.

        Returns:
            An operation, or None.
        """
        step = current_step(self._engine, "resource_apply_dense")
        hooks.run_declared(self._engine, step, var, self._engine.work_of(var, grad))

    def resource_apply_sparse(self, grad: Any, var: Any, indices: Any) -> Any:
        """Updates one variable with a gradient for some of its rows. May be overridden, too.

        Args:
            grad: the rows of the gradient.
            var: the variable: one replica's copy, if it is mirrored.
            indices: which rows they are; none is repeated.

        Returns:
            An operation, or None.
        """
        step = current_step(self._engine, "resource_apply_sparse")
        if self._engine.densifies(self._engine.groups.of(var).role):
            return self.resource_apply_dense(rows.densify(grad, indices, var), var)
        slices = tf.IndexedSlices(grad, indices)
        hooks.run_declared(self._engine, step, var, self._engine.work_of(var, slices))

    def _decayed_lr(self, var_dtype: Any) -> Any:
        """Returns the learning rate of this step, after `decay`, for hooks."""
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
            policies: further policies that optimizers may use, which act after those of its base.
            paths: further ways to run updates, which are asked before those of its base.
            engine: the class of an optimizer's parts, for another order of a step.
            uncalled: names that must not be defined, since nothing calls them, each with what is
                called instead.
            reserved: further names that tfopt keeps for itself: subclasses must not redefine them.
            tracks_attributes: False if checkpoints must not save what is assigned to attributes.
            shared: True if you promise that `begin` and `update` read only what the class declares.
                Then its optimizers share what XLA compiles, as tfopt's own do.
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
    uncalled={  # hooks of OptimizerV2's, of Keras 3's and of tf-keras'
        "_create_slots": "create_slots",
        "_resource_apply_dense": "resource_apply_dense",
        "_resource_apply_sparse": "resource_apply_sparse",
        "update_step": "update",
        "_backend_apply_gradients": "apply_gradients",
        "_backend_update_step": "update",
        "_get_current_learning_rate": "begin",
    },
)
