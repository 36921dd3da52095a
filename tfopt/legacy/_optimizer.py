"""`tfopt.legacy.Optimizer`: the base class for optimizers written for OptimizerV2."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt import optimizer as tfopt_optimizer
from tfopt import schedules
from tfopt._declarations import constructor
from tfopt._keras.optimizer import NotOffered
from tfopt._libraries import replicas, tensorflow_private, tf_variables
from tfopt._libraries.keras import LEGACY_BASES
from tfopt._libraries.tf_variables import plain_python
from tfopt._state.deferred_loading import CopyLoader
from tfopt._state.snapshot import Snapshot
from tfopt._state.weight_order import CallableList
from tfopt.hyper import Hyper
from tfopt.legacy._attributes import HyperView, freed
from tfopt.legacy._engine import LegacyEngine
from tfopt.legacy._hooks import StepHooks

# Names that OptimizerV2 does not have, so a subclass could redefine them and change a step
# without knowing: the engine, and the formulas from which the hooks of the eight are made.
RESERVED = "_engine _declared begin fused slot_order slots sparse update".split()
KEYWORDS = ("clipnorm", "clipvalue", "decay", "global_clipnorm", "lr")


@freed
class Optimizer(
    StepHooks,
    tfopt_optimizer.Optimizer,
    *LEGACY_BASES,  # type: ignore[misc]  # for `isinstance`: none of its code runs
    engine=LegacyEngine,
    reserved=RESERVED,
    tracks_attributes=False,  # OptimizerV2 tracks nothing by itself
    uncalled={"_distributed_apply": "_resource_apply_dense"},
):
    """Base class for optimizers written for OptimizerV2: override its underscore hooks.

    Most subclasses override `_create_slots(var_list)`,
    `_resource_apply_dense(grad, var, apply_state)`,
    `_resource_apply_sparse(grad, var, indices, apply_state)` and `get_config()`; docs/legacy.md
    lists the others. Hyperparameters are what `_set_hyper` is given.

    A step calls, in OptimizerV2's order: `_create_all_weights`, `_prepare`,
    `_transform_unaggregated_gradients`, `_aggregate_gradients`, `_transform_gradients`; then for
    each variable the apply hooks and its constraint; then it adds 1 to `iterations`.

    Args:
        name: a name for the optimizer; None stands for the class name.
        gradient_aggregator: a function from (gradient, variable) pairs to such pairs, which is
            called in place of the sum over replicas.
        gradient_transformers: functions from such pairs to such pairs, which are called in turn
            after clipping.
        **kwargs: `clipnorm`, `clipvalue`, `global_clipnorm`, `decay`, `lr`, all at least 0.
            `decay` becomes `_initial_decay`; `lr` is what `_set_hyper("learning_rate", ...)`
            takes instead of its argument.

    Raises:
        TypeError: for an unknown keyword. tfopt's own keywords are not supported, because a
            subclass may use their names for itself.
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

    _engine: Any  # a `LegacyEngine`
    _HAS_AGGREGATE_GRAD = True  # what Keras asks before it passes the keyword
    _distribution_strategy: Any = None  # the strategy under which it was created
    complex_numbers = True  # as in OptimizerV2; hooks decide
    _create_slots_for_sharded_variables = NotOffered("slots of shards are created by `add_slot`")
    _init_set_name = NotOffered("the constructor sets the name")
    _restore_slot_variable = NotOffered("checkpoints call `_create_or_restore_slot_variable`")
    __getattribute__ = object.__getattribute__  # not OptimizerV2's
    __signature__ = None  # not made from declarations: the constructor has its own

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
            gradient_aggregator=gradient_aggregator or replicas.pairs_summed_over_replicas,
            gradient_transformers=list(gradient_transformers or ()),
            clipnorm=kwargs.get("clipnorm"),
            clipvalue=kwargs.get("clipvalue"),
            global_clipnorm=kwargs.get("global_clipnorm"),
        )

    # --- hyperparameters and other attributes -----------------------------------------------------

    @property
    def _iterations(self) -> Any:
        """The counter of steps, or None if it was not read yet. A wrapper may assign its own."""
        return self._engine.state.step_counter

    @_iterations.setter
    def _iterations(self, variable: Any) -> None:
        self._engine.state.share_count(variable)

    def _set_hyper(self, name: str, value: Any) -> None:
        """Sets a hyperparameter: a number, bool, tensor, variable, callable or schedule."""
        declared, common = self._declared.fields.get(name), self._declared.common
        if name not in self._engine.hypers and name not in common and isinstance(declared, Hyper):
            self._engine.hypers.add(declared, value)
        else:
            super()._set_hyper(name, value)

    @property
    def _hyper(self) -> HyperView:
        return HyperView(self)

    @property
    def _learning_rate(self) -> Any:
        """The schedule, if there is one: tf-keras' TensorBoard callback looks for it."""
        return self._hyper.get("learning_rate")

    def _create_hypers(self) -> None:
        """Creates the variables of hyperparameters that are numbers."""
        self._engine.hypers.create()
        self._hypers_created = True

    def _decayed_lr(self, var_dtype: Any) -> Any:
        """Returns the learning rate of this step, after `decay`, in the dtype of a variable."""
        rate = self._get_hyper("learning_rate", var_dtype)
        decay = self._initial_decay
        if callable(decay) or decay > 0:
            steps = tf.cast(self.iterations, var_dtype)
            rate = rate / (1 + tf.cast(self._call_if_callable(decay), var_dtype) * steps)
        return rate

    def _call_if_callable(self, param: Any) -> Any:
        return param() if callable(param) else param

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the base class; a subclass adds its own.

        Returns:
            A dict with the name, and the options that clip gradients.
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

    @plain_python
    def apply_gradients(
        self,
        grads_and_vars: Iterable[tuple[Any, Any]],
        name: str | None = None,
        experimental_aggregate_gradients: bool = True,
        *,
        skip_gradients_aggregation: bool = False,
    ) -> Any:
        """Makes one step. In eager mode it returns the new `iterations`, in a graph an operation.

        A graph needs the operation: tf-keras' loss scale for OptimizerV2 calls this in a branch.

        See `tfopt.Optimizer.apply_gradients` for arguments and errors.
        """
        aggregate = experimental_aggregate_gradients and not skip_gradients_aggregation
        result = super().apply_gradients(grads_and_vars, name, aggregate)
        return result if tf.executing_eagerly() else tf.group(result)

    # --- variables --------------------------------------------------------------------------------

    @property
    def weights(self) -> CallableList:
        """The state as variables, in the order of their creation."""
        return self._weights

    @property
    def variables(self) -> CallableList:
        """The same as `weights`, also those of a wrapper: Keras saves them. May also be called."""
        return CallableList(self.weights)

    @property
    def _slot_names(self) -> list[str]:
        return self._engine.state.slots.names

    @plain_python
    def build(self, var_list: Sequence[Any]) -> None:
        """Creates the state for variables. Optional: updates do it, too.

        Args:
            var_list: the variables.

        Raises:
            ValueError: if the arrays of an earlier `set_weights` do not fit.
        """
        self._engine.state.slots.note_paths(var_list)
        with tf.init_scope():
            self._create_all_weights([tf_variables.unwrap(variable) for variable in var_list])

    def _create_all_weights(self, var_list: Sequence[Any]) -> None:
        """Creates `iterations`, hyperparameters and slots, if they do not exist yet."""
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
            self._engine.state.keep(var_list)
            self._engine.hypers.freeze()
            for optimizer in (self, *self.submodules):  # a wrapper makes slots of inner optimizers
                if isinstance(optimizer, Optimizer) and optimizer.built:
                    optimizer._engine.state.load_waiting(0)
        self._engine.expose()

    def create_slots(self, var_list: Sequence[Any]) -> None:
        """Calls `_create_slots`.

        Args:
            var_list: the variables.
        """
        self._create_slots(var_list)

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        """Creates slots, by `add_slot`: override it. It is called again at later steps."""

    @contextlib.contextmanager
    def _distribution_strategy_scope(self) -> Iterator[Any]:
        """Enters the scope of the strategy under which the optimizer was created, unless in one."""
        strategy = self._distribution_strategy
        if strategy is None or replicas.has_strategy():
            yield
        else:
            with strategy.scope():
                yield strategy

    # --- state in and out: `weights` by order -----------------------------------------------------

    def save_own_variables(self, store: Any) -> None:
        """Writes `weights` into a Keras store.

        Args:
            store: a mapping from names to arrays.
        """
        for number, value in enumerate(self.get_weights()):
            store[str(number)] = value

    def load_own_variables(self, store: Any) -> None:
        """Reads what `save_own_variables` wrote; if it does not fit `weights`, it warns.

        Args:
            store: a mapping from names to arrays.
        """
        names = [str(number) for number in range(len(store.keys()))]
        listed = [np.array(store[name]) for name in names if name in store.keys()]  # noqa: SIM118
        steps = {"iterations": listed[0]} if listed and listed[0].shape == () else {}
        self._engine.state.load_of_keras(Snapshot(steps, [], listed=listed), "the file")

    def __reduce__(self) -> Any:
        return _unpickle, (type(self), self.get_config(), self.get_weights())

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Returns an optimizer for the same variables, or for their copies if `memo` has them."""
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        memo[id(self._distribution_strategy)] = self._distribution_strategy
        twin.__dict__.update(_name=self._name, _scope_name=self._scope_name)
        twin.__dict__["_engine"] = engine = self._engine.copy_for(twin, memo)
        seen = self._engine.state.variables()
        shared = {id(v): v for v in seen if id(v) not in memo}
        memo.update(shared)  # so that an attribute which holds them does not copy them
        for name, value in self.__dict__.items():
            if name not in engine.ATTRIBUTES and not name.startswith("_self_"):
                symbolic = tf.is_tensor(value) and not hasattr(value, "numpy")  # of a trace
                twin.__dict__[name] = value if symbolic else copy.deepcopy(value, memo)
        for key in shared:
            del memo[key]
        for name, child in self._trackable_children().items():
            if id(child) in memo:
                tensorflow_private.track(twin, memo[id(child)], name)
        # The memo is complete when the copy is first used.
        engine.state.waiting.put(CopyLoader(lambda: engine.state.table.move(memo)))
        engine.state.waiting.add_all_of(self._engine.state.waiting)
        return twin


def _unpickle(cls: Any, config: dict[str, Any], weights: Sequence[Any]) -> Any:
    optimizer = cls.from_config(config)
    optimizer.set_weights(weights)
    return optimizer


# Nothing calls it. It is set here, since a class body that has the name raises.
_distributed_apply = NotOffered("tfopt updates every copy itself")
_distributed_apply.__set_name__(Optimizer, "_distributed_apply")
setattr(Optimizer, "_distributed_apply", _distributed_apply)  # noqa: B010
