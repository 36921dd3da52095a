"""The eight optimizers of OptimizerV2: its hooks, with the formulas of tfopt's classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfopt import registry
from tfopt._engine.scalars import Scalars
from tfopt.hyper import Alias
from tfopt.legacy._attributes import freed
from tfopt.legacy._declared import Declared
from tfopt.optimizers import adadelta, adagrad, adam, adamax, ftrl, nadam, rmsprop, sgd


@freed
class SGD(Declared, sgd.SGD):
    """`tfopt.SGD` as a base class for optimizers written for OptimizerV2's.

    `apply_state` holds `lr_t` and `momentum`. `_momentum` says whether there is momentum.
    """

    _coefficients = {"learning_rate": "lr_t", "momentum": "momentum"}

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: Any = 0.0,
        nesterov: bool = False,
        name: str | None = "SGD",
        **kwargs: Any,
    ):
        self._start(name, kwargs, learning_rate=learning_rate, momentum=momentum, nesterov=nesterov)
        self._momentum = self.uses("momentum")


@freed
class RMSprop(Declared, rmsprop.RMSprop):
    """`tfopt.RMSprop` as a base class for optimizers written for OptimizerV2's.

    `apply_state` holds `lr_t`, `neg_lr_t`, `epsilon`, `rho`, `momentum` and `one_minus_rho`.
    `_momentum` says whether there is momentum. Sparse gradients without momentum are applied with
    `neg_lr_t`, all others with `lr_t`.
    """

    _coefficients = {
        "learning_rate": "lr_t",
        "rho": "rho",
        "momentum": "momentum",
        "epsilon": "epsilon",
        "neg_lr_t": "neg_lr_t",
    }

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: Any = 0.9,
        momentum: Any = 0.0,
        epsilon: Any = 1e-7,
        centered: bool = False,
        name: str | None = "RMSprop",
        **kwargs: Any,
    ):
        fields = {"rho": rho, "momentum": momentum, "epsilon": epsilon, "centered": centered}
        self._start(name, kwargs, learning_rate=learning_rate, **fields)
        self._momentum = self.uses("momentum")

    def _prepare_local(self, var_device: Any, var_dtype: Any, apply_state: Any) -> None:
        super()._prepare_local(var_device, var_dtype, apply_state)
        coefficients = apply_state[var_device, var_dtype]
        coefficients["neg_lr_t"] = -coefficients["lr_t"]
        coefficients["one_minus_rho"] = 1 - coefficients["rho"]

    def _shared(self, var: Any, apply_state: Any, by_rows: bool) -> Scalars:
        h = super()._shared(var, apply_state, by_rows)
        if by_rows and not self._momentum:
            h.learning_rate = -h.neg_lr_t
        return h


@freed
class Adam(Declared, adam.Adam):
    """`tfopt.Adam` as a base class for optimizers written for OptimizerV2's.

    `apply_state` holds `lr_t`; `lr`, which is `lr_t` corrected for bias; `epsilon`; `beta_1_t`,
    `beta_1_power`, `one_minus_beta_1_t`, and the same for 2. Dense gradients are applied with
    `lr_t`, sparse ones with `lr`.
    """

    _coefficients = {
        "learning_rate": "lr_t",
        "beta_1": "beta_1_t",
        "beta_2": "beta_2_t",
        "epsilon": "epsilon",
        "beta_1_power": "beta_1_power",
        "beta_2_power": "beta_2_power",
        "alpha": "lr",
    }

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: Any = 0.9,
        beta_2: Any = 0.999,
        epsilon: Any = 1e-7,
        amsgrad: bool = False,
        name: str | None = "Adam",
        **kwargs: Any,
    ):
        fields = {"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon, "amsgrad": amsgrad}
        self._start(name, kwargs, learning_rate=learning_rate, **fields)

    def _prepare_local(self, var_device: Any, var_dtype: Any, apply_state: Any) -> None:
        super()._prepare_local(var_device, var_dtype, apply_state)
        coefficients = apply_state[var_device, var_dtype]
        coefficients["one_minus_beta_1_t"] = 1 - coefficients["beta_1_t"]
        coefficients["one_minus_beta_2_t"] = 1 - coefficients["beta_2_t"]


@freed
class Adadelta(Declared, adadelta.Adadelta):
    """`tfopt.Adadelta` as a base class for optimizers written for OptimizerV2's.

    `apply_state` holds `lr_t`, `epsilon` and `rho`.
    """

    _coefficients = {"learning_rate": "lr_t", "rho": "rho", "epsilon": "epsilon"}

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: Any = 0.95,
        epsilon: Any = 1e-7,
        name: str | None = "Adadelta",
        **kwargs: Any,
    ):
        self._start(name, kwargs, learning_rate=learning_rate, rho=rho, epsilon=epsilon)


@freed
class Adagrad(Declared, adagrad.Adagrad):
    """`tfopt.Adagrad` as a base class for optimizers written for OptimizerV2's.

    `apply_state` holds `lr_t`, `neg_lr_t`, `epsilon` and `zero`.
    """

    _coefficients = {"learning_rate": "lr_t", "epsilon": "epsilon"}

    def __init__(
        self,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: Any = 1e-7,
        name: str | None = "Adagrad",
        **kwargs: Any,
    ):
        fields = {"initial_accumulator_value": initial_accumulator_value, "epsilon": epsilon}
        self._start(name, kwargs, learning_rate=learning_rate, **fields)
        self._initial_accumulator_value = self.initial_accumulator_value

    def _prepare_local(self, var_device: Any, var_dtype: Any, apply_state: Any) -> None:
        super()._prepare_local(var_device, var_dtype, apply_state)
        coefficients = apply_state[var_device, var_dtype]
        coefficients["neg_lr_t"] = -coefficients["lr_t"]
        coefficients["zero"] = tf.zeros([], tf.int64)


@freed
class Adamax(Declared, adamax.Adamax):
    """`tfopt.Adamax` as a base class for optimizers written for OptimizerV2's.

    `apply_state` holds `lr_t`; `neg_scaled_lr`, which is -`lr_t` corrected for bias; `epsilon`;
    `beta_1_t`, `beta_1_power`, `one_minus_beta_1_t`, `beta_2_t` and `zero`. Dense gradients are
    applied with `lr_t`, sparse ones with `neg_scaled_lr`.
    """

    _coefficients = {
        "learning_rate": "lr_t",
        "beta_1": "beta_1_t",
        "beta_2": "beta_2_t",
        "epsilon": "epsilon",
        "beta_1_power": "beta_1_power",
        "alpha": "neg_scaled_lr",
    }

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: Any = 0.9,
        beta_2: Any = 0.999,
        epsilon: Any = 1e-7,
        name: str | None = "Adamax",
        **kwargs: Any,
    ):
        fields = {"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon}
        self._start(name, kwargs, learning_rate=learning_rate, **fields)

    def _prepare_local(self, var_device: Any, var_dtype: Any, apply_state: Any) -> None:
        super()._prepare_local(var_device, var_dtype, apply_state)
        coefficients = apply_state[var_device, var_dtype]
        coefficients["neg_scaled_lr"] = -coefficients["neg_scaled_lr"]
        coefficients["one_minus_beta_1_t"] = 1 - coefficients["beta_1_t"]
        coefficients["zero"] = tf.zeros([], tf.int64)

    def _shared(self, var: Any, apply_state: Any, by_rows: bool) -> Scalars:
        h = super()._shared(var, apply_state, by_rows)
        h.alpha = -h.alpha
        return h


@freed
class Nadam(Declared, nadam.Nadam):
    """`tfopt.Nadam` as a base class for optimizers written for OptimizerV2's.

    `apply_state` holds `lr_t`, `neg_lr_t`, `epsilon`, `beta_1_t`, `beta_2_t`, `m_t`, `m_t_1`,
    `one_minus_beta_1_t`, `one_minus_beta_2_t`, `one_minus_m_t`, `one_minus_m_schedule_new`,
    `one_minus_m_schedule_next` and `v_t_prime_denominator`. `_m_cache` is the momentum's product.

    `decay`, or `schedule_decay`, is the decay of the momentum schedule, and not of the learning
    rate. OptimizerV2 ignores it under the name `decay`.
    """

    schedule_decay = Alias("decay")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: Any = 0.9,
        beta_2: Any = 0.999,
        epsilon: Any = 1e-7,
        name: str | None = "Nadam",
        **kwargs: Any,
    ):
        if {"decay", "schedule_decay"} <= kwargs.keys():
            raise TypeError(
                "`decay` and `schedule_decay` are one and cannot both be given; got "
                f"{kwargs['decay']!r} and {kwargs['schedule_decay']!r}."
            )
        kwargs["decay"] = kwargs.pop("schedule_decay", kwargs.get("decay", 0.004))
        fields = {"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon}
        self._start(name, kwargs, learning_rate=learning_rate, **fields)
        self._m_cache: Any = None

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        if self._m_cache is None:
            self._m_cache = self.add_weight(
                "momentum_cache",
                shape=[],
                dtype=var_list[0].dtype.base_dtype,
                initializer="ones",
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )
            self._weights.append(self._m_cache)
        super()._create_slots(var_list)

    def _prepare(self, var_list: Sequence[Any]) -> dict[Any, dict[str, Any]]:
        self._m_cache_read = tf.identity(self._m_cache)
        return super()._prepare(var_list)

    def _prepare_local(self, var_device: Any, var_dtype: Any, apply_state: Any) -> None:
        rate = tf.identity(self._get_hyper("learning_rate", var_dtype))
        beta_1 = tf.identity(self._get_hyper("beta_1", var_dtype))
        beta_2 = tf.identity(self._get_hyper("beta_2", var_dtype))
        t = tf.cast(self.iterations + 1, var_dtype)
        psi = self._call_if_callable(self._initial_decay)
        psi = tf.cast(psi, var_dtype) if tf.is_tensor(psi) else psi
        mu, mu_next = (beta_1 * (1 - 0.5 * nadam.BASE ** (psi * step)) for step in (t, t + 1))
        product = tf.cast(self._m_cache_read, var_dtype) * mu
        if var_dtype == self._m_cache.dtype:
            self._m_cache.assign(product, read_value=False)
        apply_state[var_device, var_dtype] = {
            "lr_t": rate,
            "neg_lr_t": -rate,
            "epsilon": tf.convert_to_tensor(self.epsilon, var_dtype),
            "beta_1_t": beta_1,
            "beta_2_t": beta_2,
            "m_t": mu,
            "m_t_1": mu_next,
            "one_minus_beta_1_t": 1 - beta_1,
            "one_minus_beta_2_t": 1 - beta_2,
            "one_minus_m_t": 1 - mu,
            "one_minus_m_schedule_new": 1 - product,
            "one_minus_m_schedule_next": 1 - product * mu_next,
            "v_t_prime_denominator": 1 - beta_2**t,
        }

    def _shared(self, var: Any, apply_state: Any, by_rows: bool) -> Scalars:
        place = var.device, var.dtype.base_dtype
        c = (apply_state or {}).get(place) or self._fallback_apply_state(*place)
        rate = -c["neg_lr_t"] if by_rows else c["lr_t"]
        return Scalars(
            beta_1=c["beta_1_t"],
            beta_2=c["beta_2_t"],
            epsilon=c["epsilon"],
            alpha_g=rate * c["one_minus_m_t"] / c["one_minus_m_schedule_new"],
            alpha_m=rate * c["m_t_1"] / c["one_minus_m_schedule_next"],
            correction=1 / c["v_t_prime_denominator"],
        )


@freed
class Ftrl(Declared, ftrl.Ftrl):
    """`tfopt.Ftrl` as a base class for optimizers written for OptimizerV2's.

    `apply_state` holds `lr_t`, `learning_rate_power`, `l1_regularization_strength`,
    `l2_regularization_strength`, `l2_shrinkage_regularization_strength` and `beta`.
    """

    _coefficients = {
        "learning_rate": "lr_t",
        "learning_rate_power": "learning_rate_power",
        "l1_regularization_strength": "l1_regularization_strength",
        "l2_regularization_strength": "l2_regularization_strength",
        "l2_shrinkage_regularization_strength": "l2_shrinkage_regularization_strength",
        "beta": "beta",
    }

    def __init__(
        self,
        learning_rate: Any = 0.001,
        learning_rate_power: Any = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: Any = 0.0,
        l2_regularization_strength: Any = 0.0,
        name: str | None = "Ftrl",
        l2_shrinkage_regularization_strength: Any = 0.0,
        beta: Any = 0.0,
        **kwargs: Any,
    ):
        self._start(
            name,
            kwargs,
            learning_rate=learning_rate,
            learning_rate_power=learning_rate_power,
            initial_accumulator_value=initial_accumulator_value,
            l1_regularization_strength=l1_regularization_strength,
            l2_regularization_strength=l2_regularization_strength,
            l2_shrinkage_regularization_strength=l2_shrinkage_regularization_strength,
            beta=beta,
        )
        self._initial_accumulator_value = self.initial_accumulator_value
        self._l2_shrinkage_regularization_strength = l2_shrinkage_regularization_strength

    def _shared(self, var: Any, apply_state: Any, by_rows: bool) -> Scalars:
        h = super()._shared(var, apply_state, by_rows)
        self.begin(h, Scalars())  # the term of `beta` depends on `lr_t`
        return h


for _class in (SGD, RMSprop, Adam, Adadelta, Adagrad, Adamax, Nadam, Ftrl):
    registry.register(_class, package="tfopt.legacy")
