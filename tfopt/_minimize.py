"""From a loss to gradients, and on to the step."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt import _variables
from tfopt._variables import plain_python


class Minimizer:
    """The ways into a step that start from a loss."""

    # From the other parts of an optimizer.
    name: str
    apply_gradients: Any
    scale_loss: Any

    @plain_python
    def minimize(
        self,
        loss: Any,
        var_list: Any,
        grad_loss: Any = None,
        name: str | None = None,
        tape: tf.GradientTape | None = None,
    ) -> Any:
        """Computes the gradients of `loss` and applies them.

        Args:
            loss: a function of nothing that returns the loss, or a tensor that `tape` saw
                being computed.
            var_list: the variables to update, or a function of nothing that returns them,
                called after `loss`.
            grad_loss: the gradient with respect to the loss; ones by default.
            name: a name for the operation in a graph.
            tape: the tape to use; needed if `loss` is a tensor.

        Returns:
            The same as `apply_gradients`.

        Raises:
            ValueError: if something in `var_list` is not a variable, or `loss` is a tensor
                and there is no tape.
        """
        return self.apply_gradients(
            self.compute_gradients(loss, var_list, grad_loss, tape), name=name
        )

    @plain_python
    def compute_gradients(
        self,
        loss: Any,
        var_list: Any,
        grad_loss: Any = None,
        tape: tf.GradientTape | None = None,
    ) -> list[tuple[Any, Any]]:
        """The first half of `minimize`: (gradient, variable) pairs, of the scaled loss."""
        if not callable(loss) and tape is None:
            raise ValueError(
                f"`tape` must be given when `loss` is a tensor; got loss={loss!r} and no tape."
            )
        tape = tf.GradientTape() if tape is None else tape
        if callable(loss):
            with tape:
                if not callable(var_list):
                    tape.watch([_variables.unwrap(v) for v in _checked_variables(var_list)])
                loss = loss()
        variables = _checked_variables(var_list() if callable(var_list) else var_list)
        with tf.name_scope(_variables.scope_name(self.name + "/gradients")):
            ones = tf.ones_like(loss) if grad_loss is None else grad_loss
            scaled = self.scale_loss(ones)
            grad_loss = grad_loss if scaled is ones else scaled
            gradients = tape.gradient(loss, [_variables.unwrap(v) for v in variables], grad_loss)
        return list(zip(gradients, variables, strict=True))

    def get_gradients(self, loss: Any, params: Any) -> list[Any]:
        """The gradients of a loss tensor, in a graph.

        Args:
            loss: the loss.
            params: the variables.

        Returns:
            A tensor for each variable.

        Raises:
            ValueError: if the loss does not depend on one of them by differentiable ops.
            RuntimeError: in eager mode, which has no graph to differentiate.
        """
        variables = _checked_variables(params)
        gradients = tf.compat.v1.gradients(loss, [_variables.unwrap(v) for v in variables])
        for gradient, variable in zip(gradients, variables, strict=True):
            if gradient is None:
                raise ValueError(
                    f"The loss has no gradient for `{_variables.path(variable)}`: it does not "
                    "depend on it, or only by ops that have no gradient."
                )
        return list(gradients)

    def get_updates(self, loss: Any, params: Any) -> list[Any]:
        """The operations that minimize a loss tensor, in a graph: a list of one."""
        gradients = self.get_gradients(self.scale_loss(loss), params)
        return [self.apply_gradients(zip(gradients, _checked_variables(params), strict=True))]


def _checked_variables(var_list: Any) -> list[Any]:
    variables = _variables.shards(tf.nest.flatten(var_list))
    for variable in variables:
        if not isinstance(_variables.unwrap(variable), tf.Variable):
            raise ValueError(f"`var_list` must hold variables; got {variable!r}.")
    return variables
