"""Optimizers as third parties wrote them for OptimizerV2: each takes its base class and no more.

`legacy` is `tf_keras.optimizers.legacy` or `tfopt.legacy`; the body is the same for both.
"""

import re

import tensorflow as tf


def decoupled_adam(legacy):
    """Adam with decoupled weight decay: its own hyperparameter, coefficients and hooks."""

    class DecoupledAdam(legacy.Optimizer):
        _HAS_AGGREGATE_GRAD = True

        def __init__(
            self,
            learning_rate=0.001,
            weight_decay=0.01,
            beta_1=0.9,
            beta_2=0.999,
            epsilon=1e-7,
            name="DecoupledAdam",
            **kwargs,
        ):
            super().__init__(name, **kwargs)
            self._set_hyper("learning_rate", kwargs.get("lr", learning_rate))
            self._set_hyper("decay", self._initial_decay)
            self._set_hyper("weight_decay", weight_decay)
            self._set_hyper("beta_1", beta_1)
            self._set_hyper("beta_2", beta_2)
            self.epsilon = epsilon

        def _create_slots(self, var_list):
            for var in var_list:
                self.add_slot(var, "m")
            for var in var_list:
                self.add_slot(var, "v")

        def _prepare_local(self, var_device, var_dtype, apply_state):
            super()._prepare_local(var_device, var_dtype, apply_state)
            step = tf.cast(self.iterations + 1, var_dtype)
            beta_1_t = tf.identity(self._get_hyper("beta_1", var_dtype))
            beta_2_t = tf.identity(self._get_hyper("beta_2", var_dtype))
            corrected = tf.sqrt(1 - tf.pow(beta_2_t, step)) / (1 - tf.pow(beta_1_t, step))
            apply_state[(var_device, var_dtype)].update(
                dict(
                    lr=apply_state[(var_device, var_dtype)]["lr_t"] * corrected,
                    wd=tf.identity(self._get_hyper("weight_decay", var_dtype)),
                    epsilon=tf.convert_to_tensor(self.epsilon, var_dtype),
                    beta_1_t=beta_1_t,
                    beta_2_t=beta_2_t,
                )
            )

        def _coefficients_of(self, var, apply_state):
            var_device, var_dtype = var.device, var.dtype.base_dtype
            return (apply_state or {}).get((var_device, var_dtype)) or self._fallback_apply_state(
                var_device, var_dtype
            )

        def _resource_apply_dense(self, grad, var, apply_state=None):
            c = self._coefficients_of(var, apply_state)
            m, v = self.get_slot(var, "m"), self.get_slot(var, "v")
            decayed = var.assign_sub(c["lr_t"] * c["wd"] * var, use_locking=self._use_locking)
            with tf.control_dependencies([decayed]):
                m_t = m.assign(c["beta_1_t"] * m + (1 - c["beta_1_t"]) * grad)
                v_t = v.assign(c["beta_2_t"] * v + (1 - c["beta_2_t"]) * grad * grad)
                moved = var.assign_sub(c["lr"] * m_t / (tf.sqrt(v_t) + c["epsilon"]))
            return tf.group(decayed, m_t, v_t, moved)

        def _resource_apply_sparse(self, grad, var, indices, apply_state=None):
            c = self._coefficients_of(var, apply_state)
            m, v = self.get_slot(var, "m"), self.get_slot(var, "v")
            rows = tf.gather(var, indices)
            decayed = self._resource_scatter_update(var, indices, rows - c["lr_t"] * c["wd"] * rows)
            with tf.control_dependencies([decayed]):
                m_t = m.assign(c["beta_1_t"] * m)
                with tf.control_dependencies([m_t]):
                    m_t = self._resource_scatter_add(m, indices, (1 - c["beta_1_t"]) * grad)
                v_t = v.assign(c["beta_2_t"] * v)
                with tf.control_dependencies([v_t]):
                    v_t = self._resource_scatter_add(v, indices, (1 - c["beta_2_t"]) * grad * grad)
                moved = var.assign_sub(c["lr"] * m_t / (tf.sqrt(v_t) + c["epsilon"]))
            return tf.group(decayed, m_t, v_t, moved)

        def get_config(self):
            config = super().get_config()
            config.update(
                {
                    "learning_rate": self._serialize_hyperparameter("learning_rate"),
                    "decay": self._initial_decay,
                    "weight_decay": self._serialize_hyperparameter("weight_decay"),
                    "beta_1": self._serialize_hyperparameter("beta_1"),
                    "beta_2": self._serialize_hyperparameter("beta_2"),
                    "epsilon": self.epsilon,
                }
            )
            return config

    return DecoupledAdam


def layer_wise(legacy):
    """A trust ratio for each variable, as LAMB's: hooks without `apply_state`, names matched."""

    class LayerWise(legacy.Optimizer):
        def __init__(
            self,
            learning_rate=0.01,
            beta=0.9,
            weight_decay_rate=0.1,
            exclude=None,
            name="LayerWise",
            **kwargs,
        ):
            super().__init__(name, **kwargs)
            self._set_hyper("learning_rate", kwargs.get("lr", learning_rate))
            self._set_hyper("decay", self._initial_decay)
            self._set_hyper("beta", beta)
            self._set_hyper("weight_decay_rate", weight_decay_rate)
            self.exclude_from_weight_decay = exclude or []

        def _create_slots(self, var_list):
            for var in var_list:
                self.add_slot(var, "m")

        def _step_of(self, m_t, var):
            step = tf.identity(m_t)
            if not any(re.search(pattern, var.name) for pattern in self.exclude_from_weight_decay):
                rate = self._get_hyper("weight_decay_rate", var.dtype.base_dtype)
                step = step + rate * var
            w_norm, step_norm = tf.norm(var, ord=2), tf.norm(step, ord=2)
            ratio = tf.where(w_norm > 0, tf.where(step_norm > 0, w_norm / step_norm, 1.0), 1.0)
            return ratio * self._decayed_lr(var.dtype.base_dtype) * step

        def _resource_apply_dense(self, grad, var):
            beta = self._get_hyper("beta", var.dtype.base_dtype)
            m = self.get_slot(var, "m")
            m_t = m.assign(beta * m + (1 - beta) * grad, use_locking=self._use_locking)
            return var.assign_sub(self._step_of(m_t, var), use_locking=self._use_locking)

        def _resource_apply_sparse(self, grad, var, indices):
            beta = self._get_hyper("beta", var.dtype.base_dtype)
            m = self.get_slot(var, "m")
            m_t = m.assign(beta * m, use_locking=self._use_locking)
            with tf.control_dependencies([m_t]):
                m_t = self._resource_scatter_add(m, indices, (1 - beta) * grad)
            with tf.control_dependencies([m_t]):
                return var.assign_sub(self._step_of(m_t, var), use_locking=self._use_locking)

        def get_config(self):
            config = super().get_config()
            config.update(
                {
                    "learning_rate": self._serialize_hyperparameter("learning_rate"),
                    "decay": self._initial_decay,
                    "beta": self._serialize_hyperparameter("beta"),
                    "weight_decay_rate": self._serialize_hyperparameter("weight_decay_rate"),
                    "exclude": self.exclude_from_weight_decay,
                }
            )
            return config

    return LayerWise


def averaging(legacy):
    """A wrapper that forwards every hook to another optimizer, and averages what it did."""

    class Averaging(legacy.Optimizer):
        def __init__(self, optimizer, keep=0.5, name="Averaging", **kwargs):
            super().__init__(name, **kwargs)
            if not isinstance(optimizer, legacy.Optimizer):
                raise TypeError("not an optimizer")
            self._optimizer = optimizer
            self._set_hyper("keep", keep)
            self._track_trackable(self._optimizer, "inner")

        def _create_hypers(self):
            self._optimizer._create_hypers()
            super()._create_hypers()

        def _create_slots(self, var_list):
            self._optimizer._create_slots(var_list=var_list)
            for var in var_list:
                self.add_slot(var, "average", initializer=var)
            self._averages = [self.get_slot(var, "average") for var in var_list]
            self._averaged = var_list

        def _prepare(self, var_list):
            return self._optimizer._prepare(var_list=var_list)

        def apply_gradients(self, grads_and_vars, name=None, **kwargs):
            self._optimizer._iterations = self.iterations
            return super().apply_gradients(grads_and_vars, name, **kwargs)

        def _average(self, train_op, var):
            keep = self._get_hyper("keep", var.dtype.base_dtype)
            average = self.get_slot(var, "average")
            with tf.control_dependencies([train_op] if train_op is not None else []):
                new = keep * average + (1 - keep) * var
                return tf.group(train_op, average.assign(new, use_locking=self._use_locking))

        def _resource_apply_dense(self, grad, var, apply_state=None):
            forwarded = {}
            if "apply_state" in self._optimizer._dense_apply_args:
                forwarded["apply_state"] = apply_state
            train_op = self._optimizer._resource_apply_dense(grad, var, **forwarded)
            return self._average(train_op, var)

        def _resource_apply_sparse(self, grad, var, indices, apply_state=None):
            forwarded = {}
            if "apply_state" in self._optimizer._sparse_apply_args:
                forwarded["apply_state"] = apply_state
            train_op = self._optimizer._resource_apply_sparse(grad, var, indices, **forwarded)
            return self._average(train_op, var)

        def assign_averages(self):
            for var, average in zip(self._averaged, self._averages, strict=True):
                var.assign(average)

        @property
        def weights(self):
            return self._weights + self._optimizer.weights

        @property
        def learning_rate(self):
            return self._optimizer._get_hyper("learning_rate")

        @learning_rate.setter
        def learning_rate(self, value):
            self._optimizer._set_hyper("learning_rate", value)

        def get_config(self):
            inner = self._optimizer
            config = {
                "optimizer": {"class_name": type(inner).__name__, "config": inner.get_config()},
                "keep": self._serialize_hyperparameter("keep"),
            }
            return {**super().get_config(), **config}

        @classmethod
        def from_config(cls, config, custom_objects=None):
            config = dict(config)
            inner = config.pop("optimizer")
            inner_class = getattr(legacy, inner["class_name"])
            return cls(inner_class.from_config(inner["config"]), **config)

    return Averaging


def lazy_adam(legacy):
    """Adam, of which a sparse gradient moves the gradient's rows: one hook is overridden."""

    class LazyAdam(legacy.Adam):
        def _resource_apply_sparse(self, grad, var, indices, apply_state=None):
            var_device, var_dtype = var.device, var.dtype.base_dtype
            c = (apply_state or {}).get((var_device, var_dtype)) or self._fallback_apply_state(
                var_device, var_dtype
            )
            epsilon = tf.convert_to_tensor(self.epsilon, var_dtype)
            m, v = self.get_slot(var, "m"), self.get_slot(var, "v")
            m_rows = c["beta_1_t"] * tf.gather(m, indices) + c["one_minus_beta_1_t"] * grad
            v_rows = c["beta_2_t"] * tf.gather(v, indices) + c["one_minus_beta_2_t"] * grad**2
            new_m = self._resource_scatter_update(m, indices, m_rows)
            new_v = self._resource_scatter_update(v, indices, v_rows)
            step = c["lr"] * m_rows / (tf.sqrt(v_rows) + epsilon)
            return tf.group(new_m, new_v, self._resource_scatter_add(var, indices, -step))

    return LazyAdam


def with_scalar(legacy):
    """A step size that the optimizer itself adapts: a scalar among its weights."""

    class WithScalar(legacy.Optimizer):
        def __init__(self, learning_rate=0.1, growth=1.5, name="WithScalar", **kwargs):
            super().__init__(name, **kwargs)
            self._set_hyper("learning_rate", kwargs.get("lr", learning_rate))
            self._set_hyper("growth", growth)
            self._scale = None

        def _create_slots(self, var_list):
            if self._scale is None:
                self._scale = self.add_weight(
                    "scale",
                    shape=[],
                    dtype=var_list[0].dtype.base_dtype,
                    initializer="ones",
                    trainable=False,
                    aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
                )
                self._weights.append(self._scale)
            for var in var_list:
                self.add_slot(var, "total", initializer=tf.keras.initializers.Constant(0.25))

        def _prepare(self, var_list):
            growth = tf.cast(self._get_hyper("growth"), self._scale.dtype)
            self._scale_now = tf.identity(self._scale.assign(self._scale * growth))
            return super()._prepare(var_list)

        def _prepare_local(self, var_device, var_dtype, apply_state):
            super()._prepare_local(var_device, var_dtype, apply_state)
            scale = tf.cast(self._scale_now, var_dtype)
            apply_state[(var_device, var_dtype)]["step"] = apply_state[(var_device, var_dtype)][
                "lr_t"
            ] * tf.tanh(scale)

        def _resource_apply_dense(self, grad, var, apply_state):
            total = self.get_slot(var, "total")
            added = total.assign_add(tf.abs(grad), use_locking=self._use_locking)
            step = apply_state[(var.device, var.dtype.base_dtype)]["step"]
            return var.assign_sub(step * grad / added, use_locking=self._use_locking)

        def _resource_apply_sparse(self, grad, var, indices, apply_state):
            total = self.get_slot(var, "total")
            added = tf.gather(self._resource_scatter_add(total, indices, tf.abs(grad)), indices)
            step = apply_state[(var.device, var.dtype.base_dtype)]["step"]
            return self._resource_scatter_add(var, indices, -step * grad / added)

        def get_config(self):
            config = super().get_config()
            config["learning_rate"] = self._serialize_hyperparameter("learning_rate")
            config["growth"] = self._serialize_hyperparameter("growth")
            return config

    return WithScalar
