"""The base class for optimizers written for OptimizerV2, whose hooks the engine calls."""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import tensorflow as tf

from tfopt import optimizer as tfopt_optimizer
from tfopt import schedules
from tfopt._declarations import constructor
from tfopt._engine import entry, gradients
from tfopt._engine.ambient import step_of
from tfopt._libraries import tensorflow_private, tf_variables
from tfopt._libraries.tf_variables import plain_python
from tfopt._state.state import CallableList
from tfopt._state.waiting import CopyLoader
from tfopt._values import replicas, rows
from tfopt.hyper import Hyper
from tfopt.legacy._engine import LegacyEngine

# What redefines these would change a step unseen, and OptimizerV2 has none of them: the parts of
# an optimizer, and the mathematics of which the hooks of the eight are made.
RESERVED = "_engine _declared begin fused slot_order slots sparse update".split()
KEYWORDS = ("clipnorm", "clipvalue", "decay", "global_clipnorm", "lr")

GradientsAndVariables = list[tuple[Any, Any]]
Class = TypeVar("Class", bound=type)


class _Free:
    """An attribute that is a hyperparameter once `_set_hyper` made it one, and plain until then.

    As every attribute is in OptimizerV2; in tfopt the declarations of a class decide.
    """

    def __init__(self, name: str, default: Any):
        self.name = name
        self.default = default

    def __get__(self, owner: Any, cls: type | None = None) -> Any:
        if owner is None:
            return self
        if self.name in owner._engine.hypers:
            return owner._engine.hypers[self.name].read()
        return owner.__dict__.get(self.name, self.default)

    def __set__(self, owner: Any, value: Any) -> None:
        if self.name in owner._engine.hypers:
            owner._set_hyper(self.name, value)
        else:
            owner.__dict__[self.name] = value


def freed(cls: Class) -> Class:
    """The class, in which no declared name means more than `_set_hyper` says."""
    for name, field in cls._declared.fields.items():  # type: ignore[attr-defined]
        setattr(cls, name, _Free(name, field.default))
    return cls


class _HyperView(Mapping[str, Any]):
    """`_hyper`: each hyperparameter as OptimizerV2 holds it."""

    def __init__(self, owner: Any):
        self._owner = owner

    def __getitem__(self, name: str) -> Any:
        value = self._owner._engine.hypers[name]
        if value.source is not None:
            return value.source
        return value.number if value.variable is None else value.variable

    def __setitem__(self, name: str, value: Any) -> None:
        self._owner._set_hyper(name, value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._owner._engine.hypers)

    def __len__(self) -> int:
        return len(self._owner._engine.hypers)


@freed
class Optimizer(
    tfopt_optimizer.Optimizer,
    engine=LegacyEngine,
    reserved=RESERVED,
    tracks_attributes=False,  # OptimizerV2 tracks nothing by itself
    uncalled={"_distributed_apply": "_resource_apply_dense"},
):
    """Base class for optimizers written for OptimizerV2: override its underscore hooks.

    `_create_slots(var_list)`, `_resource_apply_dense(grad, var, apply_state)`,
    `_resource_apply_sparse(grad, var, indices, apply_state)` and `get_config()` are what most
    override; docs/legacy.md lists the others. Hyperparameters are what `_set_hyper` is given.

    The order of a step is OptimizerV2's: `_create_all_weights`, `_prepare`,
    `_transform_unaggregated_gradients`, `_aggregate_gradients`, `_transform_gradients`, the
    apply hooks of each variable, its constraint, `iterations` + 1.

    Args:
        name: a name for the optimizer; None stands for the class name.
        gradient_aggregator: a function from (gradient, variable) pairs to such pairs, in
            place of the sum over replicas.
        gradient_transformers: functions from such pairs to such pairs, called in turn after
            clipping.
        **kwargs: `clipnorm`, `clipvalue`, `global_clipnorm`, `decay`, `lr`, all at least 0.
            `decay` becomes `_initial_decay`; `lr` is what `_set_hyper("learning_rate", ...)`
            takes instead of its argument.

    Raises:
        TypeError: for an unknown keyword; tfopt's own are not offered, since a subclass may
            use their names for itself.
        ValueError: for a negative number, or both `clipnorm` and `global_clipnorm`.

    >>> class SignSGD(tfopt.legacy.Optimizer):
    ...     def __init__(self, learning_rate=0.1, name="SignSGD", **kwargs):
    ...         super().__init__(name, **kwargs)
    ...         self._set_hyper("learning_rate", kwargs.get("lr", learning_rate))
    ...
    ...     def _resource_apply_dense(self, grad, var, apply_state):
    ...         lr_t = apply_state[var.device, var.dtype.base_dtype]["lr_t"]
    ...         return var.assign_sub(lr_t * tf.sign(grad))
    >>> x = tf.Variable([1.0, -2.0])
    >>> _ = SignSGD().minimize(lambda: tf.reduce_sum(x * x), [x])
    >>> x.numpy()
    array([ 0.9, -1.9], dtype=float32)
    """

    _HAS_AGGREGATE_GRAD = True  # what Keras asks before it passes the keyword
    _distribution_strategy: Any = None  # that under which it was made
    complex_numbers = True  # as there; hooks decide
    __signature__ = None  # tfopt makes one of declarations; here the constructor has its own

    def __init__(
        self,
        name: str | None,
        gradient_aggregator: Callable[..., Any] | None = None,
        gradient_transformers: Sequence[Callable[..., Any]] | None = None,
        **kwargs: Any,
    ):
        for keyword, value in kwargs.items():
            if keyword not in KEYWORDS:
                raise TypeError(
                    f"{type(self).__name__} has no keyword `{keyword}` (got {keyword}={value!r}). "
                    f"It takes: {', '.join(KEYWORDS)}."
                )
            if isinstance(value, int | float) and not value >= 0:
                raise ValueError(f"`{keyword}` must be >= 0; got {value!r}.")
        if kwargs.get("clipnorm") is not None and kwargs.get("global_clipnorm") is not None:
            raise ValueError(
                "`clipnorm` and `global_clipnorm` cannot both be set; got "
                f"{kwargs['clipnorm']!r} and {kwargs['global_clipnorm']!r}."
            )
        engine = constructor.start_engine(self, name or type(self).__name__)
        engine.pending_lr = kwargs.get("lr")
        self.__dict__.update(
            _weights=CallableList(),  # what `weights` lists: subclasses append to it
            _hypers_created=False,
            _use_locking=True,
            _initial_decay=kwargs.get("decay", 0.0),
            _distribution_strategy=(
                tf.distribute.get_strategy() if replicas.has_strategy() else None
            ),
            gradient_aggregator=gradient_aggregator or _summed,
            gradient_transformers=list(gradient_transformers or ()),
            clipnorm=kwargs.get("clipnorm"),
            clipvalue=kwargs.get("clipvalue"),
            global_clipnorm=kwargs.get("global_clipnorm"),
        )

    # --- hyperparameters and other attributes -----------------------------------------------------

    @property
    def _iterations(self) -> Any:
        """The counter of steps, or None if nobody has read it yet. A wrapper shares its own."""
        return self._engine.state.step_counter

    @_iterations.setter
    def _iterations(self, variable: Any) -> None:
        self._engine.state.share_count(variable)

    def _set_hyper(self, name: str, value: Any) -> None:
        """Sets a hyperparameter: a number, tensor, variable, callable or schedule."""
        declared, common = self._declared.fields.get(name), self._declared.common
        if name not in self._engine.hypers and name not in common and isinstance(declared, Hyper):
            self._engine.hypers.add(declared, value)
        else:
            super()._set_hyper(name, value)

    @property
    def _hyper(self) -> _HyperView:
        return _HyperView(self)

    @property
    def _learning_rate(self) -> Any:
        """The schedule, if there is one: tf-keras' TensorBoard callback looks for it."""
        return self._hyper.get("learning_rate")

    def _create_hypers(self) -> None:
        """Creates the variables of hyperparameters that are numbers."""
        self._engine.hypers.create()
        self._hypers_created = True

    def _decayed_lr(self, var_dtype: Any) -> Any:
        """The learning rate of this step, after `decay`, in the dtype of a variable."""
        rate = self._get_hyper("learning_rate", var_dtype)
        if self._initial_decay > 0:
            steps = tf.cast(self.iterations, var_dtype)
            rate = rate / (1 + tf.cast(self._initial_decay, var_dtype) * steps)
        return rate

    def _call_if_callable(self, param: Any) -> Any:
        return param() if callable(param) else param

    def get_config(self) -> dict[str, Any]:
        """The arguments of the base class; a subclass adds its own.

        Returns:
            A dict with the name, and what clips gradients.
        """
        clips = {name: getattr(self, name) for name in ("clipnorm", "clipvalue", "global_clipnorm")}
        return {"name": self._name, **{n: value for n, value in clips.items() if value is not None}}

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Any:
        """Makes an optimizer from a config.

        Args:
            config: what `get_config` returned, here or from OptimizerV2.
            custom_objects: names of schedules or functions that the config uses.

        Returns:
            An optimizer without state.
        """
        config = dict(config)
        if "lr" in config:
            config["learning_rate"] = config.pop("lr")
        if isinstance(config.get("learning_rate"), Mapping):
            schedule = config["learning_rate"]
            config["learning_rate"] = schedules.deserialize_any(schedule, custom_objects)
        return cls(**config)

    # --- variables --------------------------------------------------------------------------------

    @property
    def weights(self) -> CallableList:
        """The state as variables, in the order of their creation."""
        return self._weights

    @property
    def variables(self) -> CallableList:
        """What `weights` lists, a wrapper's too: Keras saves it. May also be called."""
        return CallableList(self.weights)

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
        state = self._engine.state
        with state.lock:
            before = state.slots.count()
            slot = super().add_slot(var, slot_name, initializer, shape)
            if state.slots.count() > before:
                self._weights.append(slot)
            self._engine.keep([tf_variables.unwrap(var)])
        return slot

    @property
    def _slot_names(self) -> list[str]:
        return self._engine.state.slots.names

    @plain_python
    def build(self, var_list: Sequence[Any]) -> None:
        """Creates the state for variables. Optional: updates do it too.

        Args:
            var_list: the variables.

        Raises:
            ValueError: if what `set_weights` was given earlier does not fit.
        """
        self._engine.state.slots.note_paths(var_list)
        with tf.init_scope():
            self._create_all_weights([tf_variables.unwrap(variable) for variable in var_list])

    def _create_all_weights(self, var_list: Sequence[Any]) -> None:
        """Creates `iterations`, hyperparameters and slots, as far as they are not there."""
        if self._engine.pending_lr is not None:
            raise TypeError(
                f"`lr`={self._engine.pending_lr!r} has no effect: {type(self).__name__} never "
                "called `_set_hyper('learning_rate', ...)`."
            )
        _ = self.iterations
        self._create_hypers()
        if not var_list:
            return
        known = self._engine.state.slots.knows(var_list)
        self._create_slots(var_list)
        if not known:
            self._engine.keep(var_list)
            self._engine.hypers.freeze()
            for optimizer in (self, *self.submodules):  # a wrapper makes slots for those inside
                if isinstance(optimizer, Optimizer) and optimizer.built:
                    optimizer._engine.load_waiting()
        self._engine.expose()

    def create_slots(self, var_list: Sequence[Any]) -> None:
        """Calls `_create_slots`.

        Args:
            var_list: the variables.
        """
        self._create_slots(var_list)

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        """Override it to create slots, by `add_slot`; it is called again at later steps."""

    @contextlib.contextmanager
    def _distribution_strategy_scope(self) -> Iterator[Any]:
        """The scope of the strategy that the optimizer was made under, unless in one now."""
        strategy = self._distribution_strategy
        if strategy is None or replicas.has_strategy():
            yield
        else:
            with strategy.scope():
                yield strategy

    # --- from a loss to gradients -----------------------------------------------------------------

    def compute_gradients(
        self, loss: Any, var_list: Any, grad_loss: Any = None, tape: Any = None
    ) -> GradientsAndVariables:
        """The first half of `minimize`: (gradient, variable) pairs.

        Args:
            loss: a function of nothing that returns the loss, or a tensor that `tape` saw
                being computed.
            var_list: the variables, or a function of nothing that returns them.
            grad_loss: the gradient with respect to the loss; ones by default.
            tape: the tape to use; needed if `loss` is a tensor.

        Returns:
            What `_compute_gradients` gives.
        """
        return self._compute_gradients(loss, var_list, grad_loss=grad_loss, tape=tape)

    def _compute_gradients(
        self, loss: Any, var_list: Any, grad_loss: Any = None, tape: Any = None
    ) -> GradientsAndVariables:
        """Calls `_transform_loss`, then `_get_gradients`."""
        if not callable(loss) and tape is None:
            raise ValueError(
                f"`tape` must be given when `loss` is a tensor; got loss={loss!r} and no tape."
            )
        tape = tf.GradientTape() if tape is None else tape
        with tape:
            if callable(loss):
                if not callable(var_list):
                    tape.watch(_unwrapped(var_list))
                loss = loss()
            if callable(var_list):
                var_list = var_list()
            loss = self._transform_loss(loss)
        with tf.name_scope(tf_variables.scope_name(self._name + "/gradients")):
            pairs = list(self._get_gradients(tape, loss, _unwrapped(var_list), grad_loss))
        self._assert_valid_dtypes(
            [variable for gradient, variable in pairs if gradient is not None]
        )
        given = {id(tf_variables.unwrap(v)): v for v in tf.nest.flatten(var_list)}
        return [(gradient, given.get(id(variable), variable)) for gradient, variable in pairs]

    def _transform_loss(self, loss: Any) -> Any:
        """Override it to change the loss before it is differentiated."""
        return loss

    def _get_gradients(
        self, tape: Any, loss: Any, var_list: Sequence[Any], grad_loss: Any = None
    ) -> GradientsAndVariables:
        """Override it to differentiate in another way."""
        return list(zip(tape.gradient(loss, var_list, grad_loss), var_list, strict=True))

    def _valid_dtypes(self) -> Iterable[tf.DType]:
        """Override it to take variables of fewer dtypes."""
        return {*gradients.FLOATING, tf.complex64, tf.complex128}

    def _assert_valid_dtypes(self, tensors: Iterable[Any]) -> None:
        valid = self._valid_dtypes()
        for tensor in tensors:
            if tensor.dtype.base_dtype not in valid:
                raise ValueError(
                    f"Variable `{tf_variables.path(tensor)}` must be of one of the dtypes "
                    f"{sorted(dtype.name for dtype in valid)}; got {tensor.dtype.name}."
                )

    # --- a step -----------------------------------------------------------------------------------

    def scale_loss(self, loss: Any) -> Any:
        """The loss to differentiate: the loss itself."""
        return loss

    def finalize_variable_values(self, var_list: Iterable[Any]) -> None:
        """Called after training; there is nothing to finalize without averages of tfopt's."""

    @plain_python
    def apply_gradients(
        self,
        grads_and_vars: Iterable[tuple[Any, Any]],
        name: str | None = None,
        experimental_aggregate_gradients: bool = True,
        *,
        skip_gradients_aggregation: bool = False,
    ) -> Any:
        """Applies gradients to variables: one step. See `tfopt.Optimizer.apply_gradients`.

        Args:
            grads_and_vars: (gradient, variable) pairs.
            name: a name for the operation in a graph.
            experimental_aggregate_gradients: False if the gradients are summed already.
            skip_gradients_aggregation: tf-keras' word for the opposite.

        Returns:
            The new value of `iterations`; in a v1 graph the operation.
        """
        aggregate = experimental_aggregate_gradients and not skip_gradients_aggregation
        return entry.apply(self._engine, grads_and_vars, name, aggregate)

    def resource_apply_dense(self, grad: Any, var: Any) -> Any:
        """Calls `_resource_apply_dense`, with `apply_state` if it takes it.

        Args:
            grad: the gradient, aggregated and clipped.
            var: the variable: one replica's copy, if it is mirrored.

        Returns:
            What the hook returns.
        """
        return self._resource_apply_dense(grad, var, **self._state_for(self._dense_apply_args))

    def resource_apply_sparse(self, grad: Any, var: Any, indices: Any) -> Any:
        """Calls `_resource_apply_sparse_duplicate_indices`, with `apply_state` likewise.

        Args:
            grad: rows of the gradient.
            var: the variable: one replica's copy, if it is mirrored.
            indices: which rows they are, maybe repeated.

        Returns:
            What the hook returns.
        """
        state = self._state_for(self._sparse_apply_args)
        return self._resource_apply_sparse_duplicate_indices(grad, var, indices, **state)

    def _state_for(self, arguments: list[str]) -> dict[str, Any]:
        step = step_of(self._engine)  # a wrapper may call hooks outside of one
        apply_state = step.scalars if step is not None else None
        return {"apply_state": apply_state} if "apply_state" in arguments else {}

    def _transform_unaggregated_gradients(
        self, grads_and_vars: GradientsAndVariables
    ) -> GradientsAndVariables:
        """Override it to change each replica's gradients before they are summed."""
        return grads_and_vars

    def _aggregate_gradients(self, grads_and_vars: GradientsAndVariables) -> GradientsAndVariables:
        """Override it to sum over replicas in another way."""
        return list(self.gradient_aggregator(grads_and_vars))

    def aggregate_gradients(self, grads_and_vars: Any) -> GradientsAndVariables:
        """The pairs with each gradient summed over replicas.

        Args:
            grads_and_vars: (gradient, variable) pairs.

        Returns:
            What `_aggregate_gradients` gives.
        """
        return self._aggregate_gradients(list(grads_and_vars))

    def _transform_gradients(self, grads_and_vars: GradientsAndVariables) -> GradientsAndVariables:
        """Clips the sums and calls the gradient transformers. May be overridden."""
        limits = {
            "value": self.clipvalue,
            "norm": self.clipnorm,
            "global_norm": self.global_clipnorm,
        }
        if any(limit is not None for limit in limits.values()):
            variables = [variable for _, variable in grads_and_vars]
            summed = [_deduplicated(gradient) for gradient, _ in grads_and_vars]
            clipped, factors = gradients.clip(summed, variables, **limits)
            clipped = list(map(gradients.scaled, clipped, factors))
            grads_and_vars = list(zip(clipped, variables, strict=True))
        for transformer in self.gradient_transformers:
            grads_and_vars = transformer(grads_and_vars)
        return grads_and_vars

    def _prepare(self, var_list: Sequence[Any]) -> dict[Any, dict[str, Any]]:
        """`apply_state`: what `_prepare_local` computes for each device and dtype."""
        local = [each for variable in var_list for each in replicas.copies(variable)]
        keys = dict.fromkeys((each.device, each.dtype.base_dtype) for each in local)
        apply_state: dict[Any, dict[str, Any]] = {}
        for device, dtype in keys:
            apply_state[device, dtype] = {}
            with tf.device(device):
                self._prepare_local(device, dtype, apply_state)
        return apply_state

    def _prepare_local(self, var_device: Any, var_dtype: Any, apply_state: Any) -> None:
        """Puts `lr_t`, the learning rate, into `apply_state[var_device, var_dtype]`."""
        if "learning_rate" in self._engine.hypers:
            rate = tf.identity(self._decayed_lr(var_dtype))
            apply_state[var_device, var_dtype]["lr_t"] = rate

    def _fallback_apply_state(self, var_device: Any, var_dtype: Any) -> dict[str, Any]:
        """What `_prepare_local` gives for one device and dtype, outside of a step."""
        apply_state: dict[Any, dict[str, Any]] = {(var_device, var_dtype): {}}
        self._prepare_local(var_device, var_dtype, apply_state)
        return apply_state[var_device, var_dtype]

    @property
    def _dense_apply_args(self) -> list[str]:
        return list(inspect.signature(self._resource_apply_dense).parameters)

    @property
    def _sparse_apply_args(self) -> list[str]:
        return list(inspect.signature(self._resource_apply_sparse).parameters)

    def _resource_apply_dense(self, grad: Any, handle: Any, apply_state: Any) -> Any:
        """Override it: the update of the variable `handle` by a dense gradient."""
        raise NotImplementedError(f"{type(self).__name__} must define `_resource_apply_dense`.")

    def _resource_apply_sparse(self, grad: Any, handle: Any, indices: Any, apply_state: Any) -> Any:
        """Override it: the update of rows of `handle`, none of which is repeated."""
        raise NotImplementedError(f"{type(self).__name__} must define `_resource_apply_sparse`.")

    def _resource_apply_sparse_duplicate_indices(
        self, grad: Any, handle: Any, indices: Any, **kwargs: Any
    ) -> Any:
        """Sums repeated rows for `_resource_apply_sparse`. May be overridden."""
        summed = gradients.cast(_deduplicated(tf.IndexedSlices(grad, indices)), grad.dtype)
        return self._resource_apply_sparse(summed.values, handle, summed.indices, **kwargs)

    def _resource_scatter_add(self, x: Any, i: Any, v: Any) -> Any:
        """Adds to rows of a variable; gives its new value."""
        return x.scatter_add(tf.IndexedSlices(v, i)).value()

    def _resource_scatter_update(self, x: Any, i: Any, v: Any) -> Any:
        """Overwrites rows of a variable; gives its new value."""
        return x.scatter_update(tf.IndexedSlices(v, i)).value()

    # --- state in and out: `weights` by order -----------------------------------------------------

    def save_own_variables(self, store: Any) -> None:
        """Writes `weights` into a store of Keras'.

        Args:
            store: a mapping from names to arrays.
        """
        for number, value in enumerate(self.get_weights()):
            store[str(number)] = value

    def load_own_variables(self, store: Any) -> None:
        """Reads what `save_own_variables` wrote.

        Args:
            store: a mapping from names to arrays.

        Raises:
            ValueError: if it does not fit `weights`; nothing is changed then.
        """
        self.set_weights([store[str(number)] for number in range(len(store.keys()))])

    def __reduce__(self) -> Any:
        return _unpickle, (type(self), self.get_config(), self.get_weights())

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """An optimizer of the same variables, or of their copies if `memo` has them."""
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        memo[id(self._distribution_strategy)] = self._distribution_strategy
        twin.__dict__.update(_name=self._name, _scope_name=self._scope_name)
        twin.__dict__["_engine"] = engine = self._engine.copy_for(twin, memo)
        seen = self._engine.state.variables()
        shared = {id(v): v for v in seen if id(v) not in memo}
        memo.update(shared)  # an attribute that holds them is no reason to copy them
        for name, value in self.__dict__.items():
            if name not in engine.ATTRIBUTES and not name.startswith("_self_"):
                twin.__dict__[name] = copy.deepcopy(value, memo)
        for key in shared:
            del memo[key]
        for name, child in self._trackable_children().items():
            if id(child) in memo:
                tensorflow_private.track(twin, memo[id(child)], name)
        # The memo is whole when the copy is first used.
        engine.state.waiting.put(CopyLoader(lambda: engine.state.table.move(memo)))
        engine.state.waiting.add_all_of(self._engine.state.waiting)
        return twin


def _summed(grads_and_vars: GradientsAndVariables) -> GradientsAndVariables:
    """The pairs with gradients summed over replicas; None stays None."""
    pairs = list(grads_and_vars)
    summed = replicas.sum_over_replicas([g for g, _ in pairs if g is not None])
    gradients = iter(summed)
    return [(None if g is None else next(gradients), variable) for g, variable in pairs]


def _deduplicated(gradient: Any) -> Any:
    return rows.deduplicate(gradient) if isinstance(gradient, tf.IndexedSlices) else gradient


def _unwrapped(var_list: Any) -> list[Any]:
    return [tf_variables.unwrap(variable) for variable in tf.nest.flatten(var_list)]


def _unpickle(cls: Any, config: dict[str, Any], weights: Sequence[Any]) -> Any:
    optimizer = cls.from_config(config)
    optimizer.set_weights(weights)
    return optimizer
