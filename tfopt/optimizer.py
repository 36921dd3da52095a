"""The base of all optimizers: the life of a step, from gradients to variables."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfopt import (
    _accumulate,
    _compile,
    _distribute,
    _ema,
    _gradients,
    _precision,
    _rows,
    _variables,
)
from tfopt._compile import Scalars, Update
from tfopt._config import Configurable
from tfopt._gradients import Pair
from tfopt._keras import KerasOptimizer
from tfopt._minimize import Minimizer
from tfopt._policies import Policies
from tfopt._slots import POLICIES
from tfopt._state import Stateful
from tfopt._variables import plain_python
from tfopt.hyper import Alias, Hyper, Static

SPARSE = ("rows", "exact", "rows_move", "whole")


class Optimizer(Configurable, Minimizer, Policies, Stateful, KerasOptimizer):
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
    decay = Hyper(0.0, low=0)
    clipnorm = Hyper(None, off=None, low=0, tracked=False)
    clipvalue = Hyper(None, off=None, low=0, tracked=False)
    global_clipnorm = Hyper(None, off=None, low=0, tracked=False)
    weight_decay = Hyper(None, off=None, low=0, tracked=False)
    gradient_aggregator = Static(None)
    gradient_transformers = Static(None)
    lazy = Static(None, choices=(None, True, False))
    jit_compile = Static("auto", choices=("auto", True, False))
    use_ema = Static(False)
    ema_momentum = Static(0.99, low=0, high=1)
    ema_overwrite_frequency = Static(None, whole=True, low=1)
    gradient_accumulation_steps = Static(None, whole=True, low=1)
    loss_scale_factor = Hyper(None, off=None, above=0, tracked=False)
    skip_nonfinite = Static(False)
    master_weights = Static(False)
    shard_slots = Static(None)

    # --- what an optimizer declares ---------------------------------------------------------------

    sparse: Any = "whole"  # what an IndexedSlices gradient means: a word of SPARSE
    decays: str | None = "base"  # who decays weights: "base", "own" (`update`), None (nobody)
    complex_numbers = False  # whether complex variables are taken
    _has_kernel = False  # whether `fused` is of the same class as `update`
    _by_rows = False  # whether `sparse` speaks of this `update`, and not of a parent's
    _takes_guards = True  # whether `_apply_guarded` does what `apply_gradients` does
    _uncalled: Mapping[str, str] = {  # hooks of OptimizerV2's, and what is called instead
        "_create_slots": "create_slots",
        "_resource_apply_dense": "resource_apply_dense",
        "_resource_apply_sparse": "resource_apply_sparse",
    }

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
        """Once a step: adds to `h` what all variables share, and advances `state`."""

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
        """The same as `update`, by a kernel on variables; `NotImplemented` where there is none."""
        return NotImplemented

    def uses(self, name: str) -> bool:
        """Whether a hyperparameter that can be off takes part in the update."""
        return self._hypers[name].active

    # --- the life of a step -----------------------------------------------------------------------

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
        return self._apply_guarded(grads_and_vars, name, aggregate, self._guard)

    def _apply_guarded(
        self,
        grads_and_vars: Iterable[tuple[Any, Any]],
        name: str | None,
        aggregate: bool,
        guard: _precision.Guard | None,
    ) -> Any:
        """`apply_gradients`, for wrappers that have a guard of their own."""
        pairs = _gradients.check(grads_and_vars, self._warned, self.complex_numbers)
        if not pairs:
            return self._result(self.iterations.read_value(), name)
        self._check_constraints(pairs)
        _distribute.require_replica_context(pair.variable for pair in pairs)
        if not aggregate:
            _distribute.require_copies("`experimental_aggregate_gradients=False`")
        self.build([pair.given for pair in pairs])
        values = self._hypers.evaluate()
        if self._runs_in_place():
            with tf.name_scope(_variables.scope_name(name or self.name)):
                return self._step(pairs, values, aggregate, guard)
        step = _compile.cached_step(self, pairs, values, aggregate, guard)
        return self._result(step([pair.gradient for pair in pairs], values), name)

    def _step(
        self,
        pairs: Sequence[Pair],
        values: dict[str, Any],
        aggregate: bool,
        guard: _precision.Guard | None,
    ) -> Any:
        """A whole step, or one that only accumulates, as one replica sees it."""
        gradients = self._unscale([pair.gradient for pair in pairs], values, guard)
        apply = functools.partial(
            self._apply, pairs, values=values, aggregate=aggregate, guard=guard
        )
        if self._accumulates:
            _accumulate.step(self, pairs, gradients, aggregate, apply)
        else:
            apply(gradients)
        return self.iterations.read_value()

    def _apply(
        self,
        pairs: Sequence[Pair],
        gradients: Sequence[Any],
        *,
        values: dict[str, Any],
        aggregate: bool,
        guard: _precision.Guard | None,
    ) -> None:
        """From the gradients of one replica to the update that all make together."""
        if aggregate:
            gradients = self._aggregate(pairs, gradients)
        finite = None
        if guard is not None:
            finite = _gradients.all_finite(gradients)
            if not aggregate or self.gradient_aggregator is not None:
                finite = _distribute.agreed(finite)
        gradients = [_rows.deduplicate(g) if _is_sparse(g) else g for g in gradients]
        variables = [pair.variable for pair in pairs]
        clipped, scales = _gradients.clip(gradients, variables, **self._clips(values))
        if self._watch is not None:
            self._watch.see(gradients, clipped, scales, pairs[0].variable)
        gradients = clipped
        if self.gradient_transformers:
            gradients, scales = self._transform(pairs, gradients, scales), [None] * len(pairs)
        update = functools.partial(self._update_if_finite, pairs, values=values, guard=guard)
        _distribute.across_replicas(update, gradients, scales, finite)

    def _update_if_finite(
        self,
        pairs: Sequence[Pair],
        gradients: Sequence[Any],
        scales: Sequence[Any],
        finite: Any,
        *,
        values: dict[str, Any],
        guard: _precision.Guard | None,
    ) -> None:
        """Once for all replicas: updates, unless the guard's check has failed."""
        update = functools.partial(self._update_all, pairs, gradients, scales, values=values)
        if guard is None:
            update()
        else:
            finite = _distribute.first(finite)
            tf.cond(finite, update, lambda: None)
            guard.decided(finite)

    def _update_all(
        self,
        pairs: Sequence[Pair],
        gradients: Sequence[Any],
        scales: Sequence[Any],
        *,
        values: dict[str, Any],
    ) -> None:
        """Updates every copy of every variable, then `iterations` and averages."""
        steps = self.iterations.read_value()
        self.__dict__["_now"] = _Now(values, steps, _compile.Waiting(self))
        try:
            self._begin({_compute_dtype(pair.variable) for pair in pairs})
            for pair, gradient, scale in zip(pairs, gradients, scales, strict=True):
                update = functools.partial(self._update_copy, pair)
                _distribute.update(pair.variable, update, gradient, scale)
            self._now.waiting.run()
            self.iterations.assign_add(1, read_value=False)
            if self.use_ema:
                _ema.follow(self, list(self._slots.variables.values()))
        finally:
            self.__dict__["_now"] = None

    def _update_copy(self, pair: Pair, variable: Any, gradient: Any, scale: Any) -> None:
        """Updates one copy of one variable, on its device."""
        now = self._now
        now.excluded = self._excluded.covers(pair)
        now.decay = None if now.excluded else now.decays.get(_compute_dtype(variable))
        now.scale = scale
        now.alone = pair.constraint is not None or not self._is_declared
        if self.use_ema:
            _ema.before(self, variable, gradient, now.steps)
        if not self._is_declared:  # hooks see decayed weights, and gradients of their dtype
            gradient = _gradients.cast(_gradients.scaled(gradient, scale), variable.dtype)
            self._decay_in_place(variable, gradient)
            now.decay = now.scale = None
        if _is_sparse(gradient):
            self.resource_apply_sparse(gradient.values, variable, gradient.indices)
        else:
            self.resource_apply_dense(gradient, variable)
        if pair.constraint is not None:
            variable.assign(tf.cast(pair.constraint(variable), variable.dtype), read_value=False)

    def resource_apply_dense(self, grad: Any, var: Any) -> Any:
        """Updates one variable with a dense gradient. Override it to write an optimizer by hooks.

        Args:
            grad: the gradient, aggregated and clipped.
            var: the variable: one replica's copy, if it is mirrored.

        Returns:
            An operation, or None.
        """
        waiting = None if self._now.alone else self._now.waiting
        return _compile.dense(self, *self._inputs(grad, var), waiting)

    def resource_apply_sparse(self, grad: Any, var: Any, indices: Any) -> Any:
        """Updates one variable with a gradient for some of its rows.

        Args:
            grad: the rows of the gradient.
            var: the variable: one replica's copy, if it is mirrored.
            indices: which rows they are; none is repeated.

        Returns:
            An operation, or None.
        """
        word = self._rows_word
        if word == "whole" or (word == "exact" and not self._by_rows):
            return self.resource_apply_dense(_rows.densify(grad, indices, var), var)
        given, scalars = self._inputs(grad, var)
        if word == "rows":
            return _compile.rows(self, given, indices, scalars)
        return _compile.all_rows(self, given, indices, scalars, moves=word == "exact")

    # --- the parts of a step ----------------------------------------------------------------------

    def _aggregate(self, pairs: Sequence[Pair], gradients: Sequence[Any]) -> list[Any]:
        if self.gradient_aggregator is None:
            return _distribute.sum_over_replicas(gradients)
        given = [(gradient, pair.given) for gradient, pair in zip(gradients, pairs, strict=True)]
        return _unzip(self.gradient_aggregator(given), pairs, "gradient_aggregator")

    def _clips(self, values: dict[str, Any]) -> dict[str, Any]:
        return {
            argument: self._current(name, values)
            for argument, name in (
                ("value", "clipvalue"),
                ("norm", "clipnorm"),
                ("global_norm", "global_clipnorm"),
            )
        }

    def _transform(
        self, pairs: Sequence[Pair], gradients: Sequence[Any], scales: Sequence[Any]
    ) -> list[Any]:
        gradients = [_gradients.scaled(g, s) for g, s in zip(gradients, scales, strict=True)]
        for transformer in self.gradient_transformers:
            given = [(g, pair.given) for g, pair in zip(gradients, pairs, strict=True)]
            gradients = _unzip(transformer(given), pairs, "gradient_transformers")
        return gradients

    def _begin(self, dtypes: set[tf.DType]) -> None:
        """Computes the scalars of this step in each compute dtype; advances the state."""
        scalars, states = self._now.scalars, {}
        for dtype in sorted(dtypes, key=lambda dtype: dtype.name):
            h = Scalars(
                **{
                    name: _cast(self._current(name, self._now.values), dtype)
                    for name, value in self._hypers.items()
                    if value.active
                }
            )
            steps = _cast(self._now.steps, dtype)
            h.t = steps + 1
            if "decay" in self._fields and hasattr(h, "learning_rate"):
                h.learning_rate = h.learning_rate / (1 + h.decay * steps)
            state = Scalars(**{n: _cast(scalar, dtype) for n, scalar in self._scalars.items()})
            self.begin(h, state)
            unknown = vars(state).keys() - self._scalars.keys()
            if unknown:
                raise ValueError(
                    f"{type(self).__name__}.begin set {sorted(unknown)} in `state`, which is not "
                    f"declared; declared are {sorted(self._scalars)}."
                )
            scalars[dtype], states[dtype] = vars(h), vars(state)
            if self.decays == "base" and self.uses("weight_decay"):
                self._now.decays[dtype] = self._decay(h)
        for name, scalar in self._scalars.items():
            advanced = states.get(scalar.dtype) or next(iter(states.values()))
            scalar.assign(tf.cast(advanced[name], scalar.dtype), read_value=False)

    def _decay(self, h: Scalars) -> Any:
        """The part of the weights that decays in this step."""
        if not hasattr(h, "learning_rate"):
            raise ValueError(
                f"`weight_decay` is a part of the learning rate, which {type(self).__name__} does "
                "not have."
            )
        return h.learning_rate * h.weight_decay

    def _decay_in_place(self, variable: Any, gradient: Any) -> None:
        """Decays the weights before a hook updates them: all, or the rows of a row path."""
        if self._now.decay is None:
            return
        decay = tf.cast(self._now.decay, variable.dtype)
        if _is_sparse(gradient) and self._moves_rows():
            rows = _rows.read(variable, gradient.indices)
            _rows.write(variable, gradient.indices, rows - decay * rows)
        else:
            variable.assign_sub(decay * variable, read_value=False)

    def _inputs(self, grad: Any, var: Any) -> tuple[Update, dict[str, Any]]:
        """What the update of one variable takes, and the scalars that all share."""
        now = self._now
        slots = {
            name: _distribute.local(slot, var)
            for name, slot in self._slots.of(var).items()
            if name not in POLICIES or name == _precision.MASTER
        }
        scalars = now.scalars[_compute_dtype(var)]
        if self.decays == "own" and now.excluded and "weight_decay" in scalars:
            scalars = {**scalars, "weight_decay": tf.zeros_like(scalars["weight_decay"])}
        return Update(grad, var, slots, now.scale, now.decay), scalars

    @property
    def _is_declared(self) -> bool:
        """Whether updates run `update`, and not hooks that a subclass overrides."""
        cls = type(self)
        return (
            cls.resource_apply_dense is Optimizer.resource_apply_dense
            and cls.resource_apply_sparse is Optimizer.resource_apply_sparse
        )

    @property
    def _rows_word(self) -> str:
        """What an `IndexedSlices` gradient means, given `lazy`."""
        if self.lazy is True:
            return "rows"
        if self.lazy is False and self.sparse != "whole":
            return "exact"
        return str(self.sparse)

    def _moves_rows(self) -> bool:
        """Whether an `IndexedSlices` gradient moves its rows only."""
        return self._rows_word in ("rows", "rows_move")

    def _current(self, name: str, values: dict[str, Any] | None = None) -> Any:
        """The value of a hyperparameter in this step."""
        if values is None:
            values = self._now.values if self._now else {}
        return values[name] if name in values else self._hypers[name].read()

    def _decayed_lr(self, var_dtype: Any) -> Any:
        """The learning rate of this step, after `decay`, for use in hooks."""
        rate = self._get_hyper("learning_rate", var_dtype)
        return rate / (1 + self._get_hyper("decay", var_dtype) * _cast(self.iterations, var_dtype))

    def _runs_in_place(self) -> bool:
        """Whether the step is traced, or run, right here rather than in a cached function."""
        if tf.inside_function():
            return True
        user_code = self.gradient_aggregator is not None or self.gradient_transformers
        return tf.executing_eagerly() and bool(_distribute.has_strategy() or user_code)

    def _result(self, iterations: Any, name: str | None) -> Any:
        if _variables.in_v1_graph() and not tf.inside_function():
            return tf.group(iterations, name=_variables.scope_name(name or self.name))
        return iterations

    # --- construction -----------------------------------------------------------------------------

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # A kernel does not know of an `update` that a subclass puts in place of its parent's.
        cls._has_kernel = all(
            _definer(cls, "fused") <= _definer(cls, name) for name in ("update", "begin", "slots")
        )
        # Rows apart must give what the whole does: a parent's word for it is not enough.
        cls._by_rows = cls.resource_apply_dense is Optimizer.resource_apply_dense and _definer(
            cls, "sparse"
        ) <= _definer(cls, "update")
        cls._takes_guards = (
            cls.apply_gradients is Optimizer.apply_gradients
            or cls._apply_guarded is not Optimizer._apply_guarded
        )
        for hook, instead in cls._uncalled.items():
            if hook in vars(cls):
                raise RuntimeError(
                    f"{cls.__name__} overrides `{hook}`, which nothing would call: override "
                    f"`{instead}` instead."
                )

    def _init_engine(self, name: Any) -> None:
        if not isinstance(name, str) or not name:
            raise ValueError(f"`name` must be a non-empty string; got {name!r}.")
        self.__dict__.update(
            _name=name,
            _scope_name=_variables.scope_name(name),  # tf.Module's own
            _now=None,
            _watch=None,  # a `tfopt.inspect.Watch`
            _warned=set(),
            _cache=_compile.Cache(),
            _excluded=_gradients.Excluded(),
        )
        self._init_policies()
        self._init_state()

    def _check_arguments(self) -> None:
        """What must hold between arguments; checked again before slots are created."""
        if self.uses("clipnorm") and self.uses("global_clipnorm"):
            raise ValueError(
                "`clipnorm` and `global_clipnorm` cannot both be set; got "
                f"{self._hypers['clipnorm'].config()} and "
                f"{self._hypers['global_clipnorm'].config()}."
            )
        if self.uses("weight_decay") and self.decays is None:
            raise ValueError(
                f"`weight_decay` must be None: it would have no effect in {type(self).__name__}; "
                f"got {self._hypers['weight_decay'].config()}."
            )
        if self.lazy is True and self.sparse == "whole":
            raise ValueError(
                f"`lazy` must not be True: {type(self).__name__} needs whole variables; got True."
            )
        if self.master_weights and not self._is_declared:
            raise ValueError(
                f"`master_weights` must be False: {type(self).__name__} updates variables by "
                "hooks, which see no other copy; got True."
            )
        if self.shard_slots is not None and not isinstance(self.shard_slots, str):
            raise TypeError(
                "`shard_slots` must be the name of a dimension of a DTensor mesh, or None; got "
                f"{self.shard_slots!r}."
            )
        if self.shard_slots is not None and not self._is_declared:
            raise ValueError(
                f"`shard_slots` must be None: {type(self).__name__} updates variables by hooks, "
                f"which take slots that lie as their variables do; got {self.shard_slots!r}."
            )
        if self.sparse not in SPARSE:
            raise ValueError(f"`sparse` must be one of {SPARSE}; got {self.sparse!r}.")
        if self.gradient_aggregator is not None and not callable(self.gradient_aggregator):
            raise TypeError(
                f"`gradient_aggregator` must be a function; got {self.gradient_aggregator!r}."
            )
        transformers = self.gradient_transformers
        if transformers is not None and not (
            isinstance(transformers, list | tuple) and all(map(callable, transformers))
        ):
            raise TypeError(
                f"`gradient_transformers` must be a list of functions; got {transformers!r}."
            )

    def _check_shards(self, variables: Iterable[Any]) -> None:
        """An `update` that needs the whole variable must not see the shards of one."""
        for variable in variables:
            is_shard = _variables.whole(variable) is not variable
            if is_shard and self.sparse == "whole" and self._is_declared:
                raise ValueError(
                    f"{type(self).__name__} needs whole variables; `{_variables.path(variable)}` "
                    "is a shard of one. Create it with a `variable_partitioner` that leaves it "
                    "whole, or declare `sparse` if `update` takes any rows of a variable."
                )

    def _check_constraints(self, pairs: Sequence[Pair]) -> None:
        for pair in pairs:
            if _is_sparse(pair.gradient) and hasattr(pair.variable, "layout"):
                raise NotImplementedError(
                    f"Variable `{pair.path}` is a DTensor's and has a sparse gradient, whose ops "
                    "DTensor cannot split: look rows up by a product with `tf.one_hot`."
                )
            by_rows = _is_sparse(pair.gradient) and self._moves_rows()
            if by_rows and pair.constraint is not None:
                raise RuntimeError(
                    f"Variable `{pair.path}` has a constraint, {pair.constraint!r}, and a sparse "
                    "gradient that updates only rows: a constraint is for the whole variable. "
                    "Use `lazy=False`, or no constraint."
                )

    def exclude_from_weight_decay(self, var_list: Any = None, var_names: Any = None) -> None:
        """Keeps weight decay off some variables. Also a keyword of the constructor.

        Args:
            var_list: variables; regular expressions among them are taken as such.
            var_names: regular expressions, searched for in variables' paths.

        Raises:
            ValueError: if the optimizer has seen variables already.
        """
        if self.built:
            raise ValueError(
                "`exclude_from_weight_decay` must come before the optimizer sees variables."
            )
        for entries in (var_list, var_names):
            kinds = tf.Variable | _variables.ShardedVariable
            alone = isinstance(entries, str) or isinstance(_variables.unwrap(entries), kinds)
            for entry in [entries] if alone else entries if entries is not None else ():
                self._excluded.add(entry)


def _definer(cls: type, name: str) -> int:
    """How far up the bases a method is defined."""
    return next(i for i, base in enumerate(cls.__mro__) if name in vars(base))


class _Now:
    """What the hooks of the step that is going on need beyond their arguments."""

    def __init__(self, values: dict[str, Any], steps: Any, waiting: _compile.Waiting):
        self.values = values  # hyperparameters that live in no variable
        self.steps = steps  # `iterations` before this step
        self.waiting = waiting
        self.scalars: dict[tf.DType, dict[str, Any]] = {}
        self.decays: dict[tf.DType, Any] = {}
        # Of the variable being updated:
        self.excluded = False
        self.decay: Any = None
        self.scale: Any = None
        self.alone = True  # whether its update must not wait for others


def _is_sparse(gradient: Any) -> bool:
    return isinstance(gradient, tf.IndexedSlices)


def _compute_dtype(variable: Any) -> tf.DType:
    return _variables.compute_dtype(variable.dtype)


def _cast(value: Any, dtype: tf.DType) -> Any:
    """A real scalar as any dtype of arithmetic."""
    return tf.cast(tf.cast(tf.convert_to_tensor(value), dtype.real_dtype), dtype)


def _unzip(returned: Any, pairs: Sequence[Pair], name: str) -> list[Any]:
    returned = list(returned)
    variables = [variable for _, variable in returned]
    if len(returned) != len(pairs) or any(
        variable is not pair.given for variable, pair in zip(variables, pairs, strict=False)
    ):
        raise ValueError(
            f"`{name}` must return a (gradient, variable) pair for each one given, in the same "
            f"order: {len(pairs)} of them; got {len(returned)}."
        )
    return [gradient for gradient, _ in returned]
