"""Optimizers as users write them; the pickles beside this file name it as their module."""

import tensorflow as tf

import tfopt


class Own(tfopt.legacy.Optimizer):
    """Momentum, in the hooks of OptimizerV2."""

    def __init__(self, learning_rate=0.125, momentum=0.75, name="Own", **kwargs):
        super().__init__(name, **kwargs)
        self._set_hyper("learning_rate", kwargs.get("lr", learning_rate))
        self._set_hyper("decay", self._initial_decay)
        self._set_hyper("momentum", momentum)

    def _create_slots(self, var_list):
        for var in var_list:
            self.add_slot(var, "velocity")

    def _resource_apply_dense(self, grad, var, apply_state):
        rate = apply_state[var.device, var.dtype.base_dtype]["lr_t"]
        velocity = self.get_slot(var, "velocity")
        velocity.assign(self._get_hyper("momentum", var.dtype) * velocity - rate * grad)
        return var.assign_add(velocity)

    def _resource_apply_sparse(self, grad, var, indices, apply_state):
        dense = tf.scatter_nd(indices[:, None], grad, var.shape)
        return self._resource_apply_dense(dense, var, apply_state)

    def get_config(self):
        names = ("learning_rate", "decay", "momentum")
        numbers = {name: self._serialize_hyperparameter(name) for name in names}
        return {**super().get_config(), **numbers}


class Counted(tfopt.Optimizer):
    """All that may be declared: a slot, a scalar of its own; and a weight outside of `weights`."""

    learning_rate = tfopt.Hyper(0.125, low=0)
    state = {"warmth": 0.5}

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.updates = self.add_weight("updates", (), tf.float32)

    def slots(self, x):
        return {"last": tfopt.zeros(x)}

    def begin(self, h, state):
        h.rate = h.learning_rate * state.warmth
        state.warmth = (state.warmth + 1) / 2

    def update(self, g, x, s, h):
        x = x - h.rate * (g + s.last)
        s.last = g
        return x


tfopt.register(Own, package="recorded")
tfopt.register(Counted, package="recorded")
