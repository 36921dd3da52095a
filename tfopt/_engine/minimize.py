"""Computes gradients from a loss."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._libraries import replicas, tf_variables
from tfopt._libraries.messages import kind_of, shown


def compute_gradients(
    optimizer: Any, loss: Any, var_list: Any, grad_loss: Any, tape: tf.GradientTape | None
) -> list[tuple[Any, Any]]:
    """Returns (gradient, variable) pairs of the loss, multiplied by the optimizer's loss scale."""
    replicas.require_replica_context()
    if not callable(loss) and tape is None:
        raise ValueError(
            f"`tape` must be given when `loss` is no function; got {kind_of(loss)} and no tape. "
            "Pass a function without arguments that returns the loss, or compute the loss under a "
            "tf.GradientTape and pass that as `tape`."
        )
    if var_list is None:
        raise TypeError(
            "`var_list` must be given: which variables to update. Write "
            "`minimize(loss, model.trainable_variables)`."
        )
    tape = tf.GradientTape() if tape is None else tape
    if callable(loss):
        with tape:
            if not callable(var_list):
                tape.watch([tf_variables.unwrap(v) for v in checked_variables(var_list)])
            loss = loss()
    variables = checked_variables(var_list() if callable(var_list) else var_list)
    with tf.name_scope(tf_variables.scope_name(optimizer.name + "/gradients")):
        ones = tf.ones_like(loss) if grad_loss is None else grad_loss
        scaled = optimizer.scale_loss(ones)
        grad_loss = grad_loss if scaled is ones else scaled
        gradients = tape.gradient(loss, [tf_variables.unwrap(v) for v in variables], grad_loss)
    return list(zip(gradients, variables, strict=True))


def get_gradients(loss: Any, params: Any) -> list[Any]:
    """Returns the gradients of a loss tensor, in a graph."""
    variables = checked_variables(params)
    gradients = tf.compat.v1.gradients(loss, [tf_variables.unwrap(v) for v in variables])
    for gradient, variable in zip(gradients, variables, strict=True):
        if gradient is None:
            raise ValueError(
                f"The loss has no gradient for `{tf_variables.variable_path(variable)}`: it does "
                "not depend on it, or only by ops that have no gradient."
            )
    return list(gradients)


def checked_variables(var_list: Any) -> list[Any]:
    """Returns the variables of a nest, with shards in place of sharded variables."""
    variables = tf_variables.shards(tf.nest.flatten(var_list))
    for variable in variables:
        if not isinstance(tf_variables.unwrap(variable), tf.Variable):
            raise ValueError(f"`var_list` must hold variables; got {shown(variable)}.")
    return variables
