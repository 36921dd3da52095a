"""Loss scaling for mixed precision: keeps small float16 gradients from becoming 0."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfopt import registry
from tfopt._declarations import misspelt
from tfopt._engine import apply_gradients, building, gradient_arithmetic
from tfopt._engine.policy import Policy, Works
from tfopt._engine.step_records import Step
from tfopt._keras.optimizer import KerasOptimizer, NotOffered, paired
from tfopt._libraries import dtensor, replicas, tensorflow_private, tf_variables
from tfopt._libraries.keras import tf_keras
from tfopt._libraries.tf_variables import plain_python
from tfopt._libraries.warnings import warn
from tfopt._policies.fixed_loss_scale import divided, times
from tfopt._policies.skip_nonfinite import SKIPPED, FiniteSteps
from tfopt._state import saved_model
from tfopt._state.state import State
from tfopt._state.weight_order import CallableList
from tfopt.hyper import is_number
from tfopt.optimizer import Optimizer

_BASES: tuple[type, ...] = (keras.optimizers.LossScaleOptimizer,)
if tf_keras is not None:
    _BASES += (tf_keras.mixed_precision.LossScaleOptimizer,)

INITIAL_SCALE = 2.0**15
GROWTH_STEPS = 2000
_OWN = ("loss_scale", "dynamic_counter", SKIPPED)  # its own variables, in their order
# Keys without effect that early versions of Keras 3 wrote into configs of its wrapper.
_NEUTRAL = {
    "weight_decay": None,
    "clipnorm": None,
    "global_clipnorm": None,
    "clipvalue": None,
    "use_ema": False,
    "ema_momentum": 0.99,
    "ema_overwrite_frequency": None,
    "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
}


@registry.register
class LossScaleOptimizer(KerasOptimizer, *_BASES):  # type: ignore[misc]
    r"""Loss scaling: multiplies the loss by a scale, divides gradients by it, and adapts the scale.

    A step is skipped, with nothing changed, if a gradient has an infinity or NaN after the sum over
    replicas. Then the scale is halved, on all replicas alike:

    $$S \leftarrow \begin{cases} \max(S / 2, 1) & \text{if a gradient is not finite} \\
        2 S & \text{after so many finite steps in a row} \end{cases}$$

    Under `mixed_float16`, Keras 3 and tf-keras wrap optimizers in loss-scale optimizers of their
    own; they do not wrap this one again. It has the methods of both: `scale_loss` of Keras 3,
    `get_scaled_loss` and `get_unscaled_gradients` of tf-keras.

    `minimize` and `fit` do everything. In a loop of your own, scale the loss by `scale_loss` or
    `get_scaled_loss`; `apply_gradients` divides the gradients by the scale. If you call
    `get_unscaled_gradients`, this method divides them instead. Then scale the loss, unscale the
    gradients and apply them in the same `tf.function`, or all three outside of any `tf.function`.

    The `inner_optimizer` does everything else. Do not use it directly.

    Args:
        inner_optimizer: an optimizer of tfopt, or an identifier for `tfopt.get`. It must not have a
            `loss_scale_factor`.
        initial_scale: the first scale, above 0. If `dynamic` is False, the scale never changes.
        dynamic_growth_steps: after how many finite steps in a row the scale is doubled, at least 1.
        dynamic: whether the scale changes. If not, `initial_scale` must be given.
        name: a name.

    State:
        That of `inner_optimizer`, then `loss_scale`, `dynamic_counter` (the finite steps since the
        scale last changed) and `skipped_steps`.

    Raises:
        TypeError: if `inner_optimizer` is not an optimizer of tfopt.
        ValueError: for a value out of range.

    >>> x = tf.Variable(1.0)
    >>> opt = tfopt.LossScaleOptimizer(tfopt.SGD(0.25))
    >>> _ = opt.minimize(lambda: x * x, [x])
    >>> float(x), float(opt.loss_scale)
    (0.5, 32768.0)
    >>> _ = opt.apply_gradients([(float("inf"), x)])
    >>> float(x), float(opt.loss_scale), int(opt.iterations), int(opt.skipped_steps)
    (0.5, 16384.0, 1, 1)

    Source:
        Micikevicius et al., Mixed Precision Training, 2018, https://arxiv.org/abs/1710.03740.
        Keras 3 checks one replica's gradients before they are summed, and its scale has no lower
        bound. tf-keras counts skipped steps as `iterations`.
    """

    def __init__(
        self,
        inner_optimizer: Optimizer | str | Mapping[str, Any],
        initial_scale: float | None = None,
        dynamic_growth_steps: int | None = None,
        *,
        dynamic: bool = True,
        name: str = "LossScaleOptimizer",
    ):
        inner = registry.get(inner_optimizer)
        if not isinstance(inner, Optimizer):
            raise TypeError(f"`inner_optimizer` must be an optimizer of tfopt; got {inner!r}.")
        if inner.uses("loss_scale_factor"):
            raise ValueError(
                "`inner_optimizer` must not have a `loss_scale_factor`, since the loss is scaled "
                f"here; got {inner!r}."
            )
        if not isinstance(name, str) or not name:
            raise ValueError(f"`name` must be a non-empty string; got {name!r}.")
        if not isinstance(dynamic, bool):
            raise TypeError(f"`dynamic` must be True or False; got {dynamic!r}.")
        if not dynamic and (initial_scale is None or dynamic_growth_steps is not None):
            raise ValueError(
                "Where `dynamic` is False, `initial_scale` must be given, and "
                f"`dynamic_growth_steps` must not; got {initial_scale!r}, {dynamic_growth_steps!r}."
            )
        scale = INITIAL_SCALE if initial_scale is None else initial_scale
        growth = GROWTH_STEPS if dynamic_growth_steps is None else dynamic_growth_steps
        if not is_number(scale) or not 0 < scale < float("inf"):
            raise ValueError(f"`initial_scale` must be a number > 0; got {initial_scale!r}.")
        if not is_number(growth) or not float(growth).is_integer() or growth < 1:
            raise ValueError(
                f"`dynamic_growth_steps` must be a whole number >= 1; got {dynamic_growth_steps!r}."
            )
        first = {"loss_scale": float(scale), "dynamic_counter": 0, SKIPPED: 0}
        self.__dict__.update(
            _name=name,
            _scope_name=tf_variables.scope_name(name),  # tf.Module's own
            _config=(float(scale), int(growth), dynamic),
            _unscales=True,
            _inner=inner,
        )
        tensorflow_private.track(self, inner, "inner_optimizer")
        # Only its own scalars: slots are those of the inner optimizer.
        self.__dict__["_scalars"] = State(self, name, {}, lambda: first, lambda: None)

    @property
    def inner_optimizer(self) -> Optimizer:
        """The optimizer that makes the steps."""
        return self._inner

    # --- the scale --------------------------------------------------------------------------------

    @property
    def initial_scale(self) -> float:
        """The first scale."""
        return float(self._config[0])

    @property
    def dynamic_growth_steps(self) -> int | None:
        """After how many finite steps the scale is doubled; None if it never changes."""
        return int(self._config[1]) if self.dynamic else None

    @property
    def dynamic(self) -> bool:
        """Whether the scale changes."""
        return bool(self._config[2])

    @property
    def loss_scale(self) -> Any:
        """The scale, a float32 variable."""
        return self._own_variables()[0]

    @property
    def dynamic_counter(self) -> Any:
        """The number of finite steps since the scale last changed, an int64 variable."""
        return self._own_variables()[1]

    @property
    def skipped_steps(self) -> Any:
        """How many steps were skipped, an int64 variable."""
        return self._own_variables()[2]

    dynamic_scale = property(lambda self: self.loss_scale, doc="Keras 3's name of `loss_scale`.")
    step_counter = property(lambda self: self.dynamic_counter, doc="Keras 3's other name.")

    def _own_variables(self) -> list[Any]:
        """Returns the scale, its counter and the skipped steps; creates them on first use."""
        if not self._scalars.counters:
            inner = self._inner._engine.state
            dtensor.place_scalars_like(self._scalars, inner, by_default=True)
        own = [self._scalars.counter(name) for name in _OWN]
        self.__dict__["_module_variables"] = own  # a `tf.Module` around it finds them here
        return own

    def _join_mesh(self, var_list: Iterable[Any]) -> None:
        """Places its own variables on the DTensor mesh of the first of these, if it is on one."""
        variables = map(tf_variables.unwrap, tf_variables.shards(var_list))
        first = next((v for v in variables if isinstance(v, tf.Variable)), None)
        if first is not None:
            building.join_mesh(self._scalars, first, self.name)

    def _compute_gradients(self, loss: Any, var_list: Any, *args: Any, **kwargs: Any) -> Any:
        if not callable(var_list):
            self._join_mesh(tf.nest.flatten(var_list))
        return super()._compute_gradients(loss, var_list, *args, **kwargs)

    def _rescale(self, finite: Any) -> None:
        """Changes the scale after a step that was taken or skipped: once for all replicas."""
        scale, counter, skipped = self._own_variables()
        replicas.add_alike(skipped, tf.logical_not(finite))
        if not self.dynamic:
            return
        now = replicas.read_alike(scale)
        steps = tf.where(finite, replicas.read_alike(counter) + 1, 0)
        grow = steps >= self.dynamic_growth_steps
        doubled = tf.where(tf.math.is_finite(2 * now), 2 * now, now)
        new = tf.where(grow, doubled, now)
        replicas.assign_alike(scale, tf.where(finite, new, tf.maximum(now / 2, 1)))
        replicas.assign_alike(counter, tf.where(grow, tf.zeros_like(steps), steps))

    def scale_loss(self, loss: Any) -> Any:
        """Returns the loss times the scale; `apply_gradients` divides gradients by the scale."""
        self.__dict__["_unscales"] = True
        return times(loss, replicas.readable_alike(self.loss_scale))

    def get_scaled_loss(self, loss: Any) -> Any:
        """Returns the loss times the scale; for a function that returns a loss, a function."""
        if callable(loss):
            return lambda: self.scale_loss(loss())
        return self.scale_loss(loss)

    def get_unscaled_gradients(self, grads: Sequence[Any]) -> list[Any]:
        """Returns gradients divided by the scale; `apply_gradients` does not divide them again.

        Args:
            grads: tensors, `tf.IndexedSlices` and None.

        Returns:
            The same, divided by the scale in their own dtypes.
        """
        self.__dict__["_unscales"] = False

        scale = replicas.readable_alike(self.loss_scale)

        def divide(values: Any) -> Any:
            return values / tf.cast(scale, values.dtype)

        return [None if g is None else gradient_arithmetic.with_values(divide, g) for g in grads]

    # --- steps ------------------------------------------------------------------------------------

    @plain_python
    def apply_gradients(
        self,
        grads_and_vars: Iterable[tuple[Any, Any]],
        name: str | None = None,
        experimental_aggregate_gradients: bool = True,
        *,
        skip_gradients_aggregation: bool = False,
    ) -> Any:
        """Divides gradients by the scale and applies them, if they are finite.

        See `tfopt.Optimizer.apply_gradients` for arguments, result and errors.
        """
        aggregate = experimental_aggregate_gradients and not skip_gradients_aggregation
        pairs = list(grads_and_vars)
        self._join_mesh([pair[-1] for pair in pairs if isinstance(pair, tuple | list) and pair])
        engine, policies = self._inner._engine, self._policies()
        return apply_gradients.apply_wrapped(engine, pairs, name, aggregate, policies)

    @plain_python
    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> Any:
        """Applies gradients, as `apply_gradients`; gradients and variables are two lists.

        See `tfopt.Optimizer.apply`.
        """
        return self.apply_gradients(paired(self, grads, trainable_variables))

    def aggregate_gradients(self, grads_and_vars: Any) -> list[tuple[Any, Any]]:
        """See `tfopt.Optimizer.aggregate_gradients`."""
        return list(self._inner.aggregate_gradients(grads_and_vars))

    def _aggregate_gradients(self, grads_and_vars: Any) -> list[tuple[Any, Any]]:
        return list(self._inner._aggregate_gradients(grads_and_vars))

    def _policies(self) -> tuple[Policy, ...]:
        """Returns the policies that this wrapper adds to a step of the inner optimizer."""
        self._own_variables()
        return (_Scaling(self, self._unscales),)

    @plain_python
    def flush(self) -> Any:
        """See `tfopt.Optimizer.flush`."""
        return apply_gradients.flush(self._inner._engine, self._policies())

    def finalize_variable_values(self, var_list: Iterable[Any]) -> None:
        """See `tfopt.Optimizer.finalize_variable_values`."""
        self._inner.finalize_variable_values(var_list)

    # --- what is the inner optimizer's ------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        # Names that start with "_" belong to each object: what it tracks, and which saves slots.
        if name.startswith("_") or "_inner" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.inner_optimizer, name)

    _engine = property(lambda self: self._inner._engine)

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(inspect.getattr_static(type(self), name, None), "__set__"):
            object.__setattr__(self, name, value)
        elif name == "loss_scale_factor" and value is not None:
            raise ValueError(f"`{name}` must be None: the loss is scaled here; got {value!r}.")
        elif not name.startswith("_") and hasattr(self._inner, name):
            setattr(self._inner, name, value)
        else:
            if "_inner" in self.__dict__:
                misspelt.warn_of_attribute(self._inner, name, value)
            tf.__internal__.tracking.AutoTrackable.__setattr__(self, name, value)

    @property
    def learning_rate(self) -> Any:
        """The learning rate of `inner_optimizer`."""
        return self._inner.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self._inner.learning_rate = value

    @property
    def lr(self) -> Any:
        """Another name for `learning_rate`."""
        return self.learning_rate

    @lr.setter
    def lr(self, value: Any) -> None:
        self.learning_rate = value

    def exclude_from_weight_decay(self, var_list: Any = None, var_names: Any = None) -> None:
        """See `tfopt.Optimizer.exclude_from_weight_decay`."""
        self._inner.exclude_from_weight_decay(var_list, var_names)

    _create_or_restore_slot_variable = NotOffered("slots are those of `inner_optimizer`")
    check_finite = NotOffered("steps check their gradients, summed over replicas")

    @property
    def iterations(self) -> Any:
        """The `iterations` of `inner_optimizer`: skipped steps do not count."""
        return self._inner.iterations

    @iterations.setter
    def iterations(self, variable: Any) -> None:
        self._inner.iterations = variable

    @property
    def built(self) -> bool:
        """Whether `inner_optimizer` has seen variables."""
        return bool(self._inner.built)

    @plain_python
    def build(self, var_list: Sequence[Any]) -> None:
        """Creates the state for variables not seen before."""
        variables = list(var_list)
        for variable in tf_variables.shards(map(tf_variables.unwrap, variables))[:1]:
            self._scalars.home.join(variable)
        self._join_mesh(variables)
        self._own_variables()
        self._inner.build(variables)

    # --- state ------------------------------------------------------------------------------------

    @property
    def weights(self) -> CallableList:
        """The weights of `inner_optimizer`, then the scale, its counter and the skipped steps."""
        return CallableList([*self._inner.weights, *self._own_variables()])

    @property
    def variables(self) -> CallableList:
        """The same as `weights`; may also be called, as in tf-keras."""
        return self.weights

    def get_weights(self) -> list[np.ndarray]:
        """Returns the values of `weights`, as NumPy arrays."""
        own = tf_variables.values_of(self._own_variables())
        return [*self._inner.get_weights(), *own]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Sets the values of `weights`.

        Raises:
            ValueError: if the number of arrays, a shape or a dtype is wrong. Then nothing is
                changed.
        """
        own = self._own_variables()
        values = list(weights)
        inner, values = values[: -len(own)], [np.array(value) for value in values[-len(own) :]]
        if not inner:
            raise ValueError(
                f"`weights` must end in {len(own)} numbers, for the scale of `{self.name}`; "
                f"got {len(weights)} arrays."
            )
        self._check_own(values)
        self._inner.set_weights(inner)
        tf_variables.assign_all(list(zip(own, values, strict=True)))

    def _check_own(self, values: Sequence[np.ndarray]) -> None:
        """Raises unless these values may be the scale, its counter and the skipped steps."""
        numbers = all(value.shape == () and value.dtype.kind in "iuf" for value in values)
        if not numbers or not np.all(np.isfinite(values)) or values[0] <= 0 or min(values) < 0:
            raise ValueError(
                f"The state of `{self.name}` must have a scale > 0 and two counts >= 0; "
                f"got {[value.tolist() for value in values]}."
            )

    def save_own_variables(self, store: Any) -> None:
        """Writes the wrapper's own variables; Keras saves those of `inner_optimizer` separately."""
        values = tf_variables.values_of(self._own_variables())
        for name, value in zip(_OWN, values, strict=True):
            store[name] = value

    def load_own_variables(self, store: Any) -> None:
        """Reads what `save_own_variables` wrote, or warns if it cannot: a model must load."""
        values = [np.array(store[name]) for name in _OWN if name in store.keys()]  # noqa: SIM118
        if len(values) < len(_OWN):
            if self.built or list(store.keys()):
                warn(f"The file has no loss scale, and none is loaded into `{self.name}`.")
            return
        try:
            self._check_own(values)
        except ValueError as error:
            warn(f"The state of `{self.name}` is not loaded: {error}")
            return
        tf_variables.assign_all(list(zip(self._own_variables(), values, strict=True)))

    def _trackable_children(self, save_type: str = "checkpoint", **kwargs: Any) -> Any:
        """Returns what a checkpoint saves; in a SavedModel also what tf-keras looks for."""
        children = super()._trackable_children(save_type, **kwargs)
        if save_type == "checkpoint":
            return children
        return {**children, **saved_model.counted_in(self.iterations)}

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal optimizer, without its state."""
        config: dict[str, Any] = {
            "name": self.name,
            "inner_optimizer": registry.serialize(self.inner_optimizer),
        }
        config["initial_scale"] = self.initial_scale
        if self.dynamic:
            return {**config, "dynamic_growth_steps": self.dynamic_growth_steps}
        return {**config, "dynamic": False}

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> LossScaleOptimizer:
        """Makes an optimizer from a config of tfopt, tf-keras or Keras 3."""
        config = dict(config)
        for name, neutral in _NEUTRAL.items():
            if name in config and config[name] == neutral:
                del config[name]
        if not config.get("dynamic", True) and config.get("dynamic_growth_steps", 0) is None:
            del config["dynamic_growth_steps"]
        inner = registry.deserialize(config.pop("inner_optimizer", None), custom_objects)
        return cls(inner_optimizer=inner, **config)

    def __reduce__(self) -> Any:
        scale, growth, dynamic = self._config
        values = tf_variables.values_of(self._own_variables())
        arguments = (scale, growth if dynamic else None, dynamic, self.name)
        return _rebuild, (type(self), self.inner_optimizer, arguments, values)

    def __deepcopy__(self, memo: dict[int, Any]) -> LossScaleOptimizer:
        _, (cls, inner, *rest) = self.__reduce__()
        memo[id(self)] = twin = _rebuild(cls, copy.deepcopy(inner, memo), *rest)
        return twin

    def __repr__(self) -> str:
        return f"tfopt.LossScaleOptimizer({self.inner_optimizer!r}, {self.initial_scale!r})"


class _Scaling(FiniteSteps):
    """The policy of a loss scale: divides gradients by the scale, and changes the scale.

    Two of them are equal if wrapper and way to unscale are, because steps are cached by policies.
    """

    def __init__(self, wrapper: LossScaleOptimizer, unscales: bool):
        super().__init__(wrapper._engine)
        self._wrapper, self._unscales = wrapper, unscales

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Scaling) and self._what() == other._what()

    def __hash__(self) -> int:
        return hash(self._what())

    def _what(self) -> tuple[int, bool]:
        return id(self._wrapper), self._unscales

    def change_own_gradients(self, step: Step, works: Works) -> Works:
        """Divides the gradients by the scale, unless the user has done so."""
        if not self._unscales:
            return works
        return divided(works, replicas.readable_alike(self._wrapper.loss_scale))

    def after_decision(self, step: Step, taken: Any) -> None:
        """Changes the scale."""
        self._wrapper._rescale(taken)


def _rebuild(cls: Any, inner: Any, arguments: Any, values: list[np.ndarray]) -> Any:
    scale, growth, dynamic, name = arguments
    more = {"initial_scale": scale, "dynamic_growth_steps": growth, "dynamic": dynamic}
    optimizer = cls(inner_optimizer=inner, **more, name=name)
    tf_variables.assign_all(list(zip(optimizer._own_variables(), values, strict=True)))
    return optimizer
