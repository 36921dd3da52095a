"""What Keras 3 and tf-keras call and read on an optimizer: `minimize`, `apply`, attributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfopt._engine import minimize
from tfopt._engine.apply_gradients import apply_wrapped, in_apply, rest_of_step
from tfopt._engine.engine import Engine
from tfopt._libraries.keras import BASES
from tfopt._libraries.tf_variables import plain_python
from tfopt._policies.exponential_moving_average import UpToDateAverages
from tfopt._policies.skip_nonfinite import FiniteSteps


class NotOffered:
    """A name of Keras' base class that tfopt does not support; reading it says why."""

    def __init__(self, instead: str):
        self.instead = instead

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @property
    def error(self) -> AttributeError:
        """The error that is raised when the name is read."""
        return AttributeError(f"tfopt's optimizers have no `{self.name}`: {self.instead}.")

    def __get__(self, owner: Any, cls: type | None = None) -> Any:
        raise self.error


class KerasOptimizer(tf.Module, *BASES):  # type: ignore[misc]
    """Inherits from the optimizers of Keras 3 and tf-keras, but never runs their code.

    Their constructors are not called, and nothing of theirs is stored. Each public name of
    theirs is defined by tfopt, or raises an error that says what to use instead.
    """

    _engine: Engine
    _lock = False  # Keras 3's `__setattr__` looks for it

    def _trackable_children(self, save_type: str = "checkpoint", **kwargs: Any) -> Any:
        """Returns what is tracked, for any purpose.

        tf-keras' version remembers its first answer: variables created later, for example after a
        restore, would not be saved.
        """
        children = tf.__internal__.tracking.AutoTrackable._trackable_children
        return children(self, "checkpoint", **kwargs)

    @plain_python
    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> Any:
        """Applies gradients, as `apply_gradients`; gradients and variables are two lists.

        Keras 3's loss-scale wrapper calls it if the gradients of the first replica are finite. If
        those of another replica are not, the step is skipped.

        A subclass may override it: `apply_gradients` then goes through it, as in Keras 3.

        Args:
            grads: the gradients.
            trainable_variables: their variables; by default all that the optimizer has seen, in
                order.

        Returns:
            The same as `apply_gradients`.

        Raises:
            ValueError: if the two lists do not have the same length.
        """
        pairs, engine = paired(self, grads, trainable_variables), self._engine
        rest = rest_of_step(engine)
        if rest is not None:
            return rest(pairs)
        with in_apply(engine):
            alone = tf.distribute.get_strategy().num_replicas_in_sync == 1
            if alone or engine.policy(FiniteSteps) is not None:
                return self.apply_gradients(pairs)
            return apply_wrapped(engine, pairs, None, True, (FiniteSteps(engine),))

    @plain_python
    def minimize(
        self,
        loss: Any,
        var_list: Any = None,
        grad_loss: Any = None,
        name: str | None = None,
        tape: tf.GradientTape | None = None,
    ) -> Any:
        """Computes the gradients of `loss` and applies them.

        Args:
            loss: a function without arguments that returns the loss, or a tensor that was computed
                under `tape`.
            var_list: the variables to update, or a function without arguments that returns them,
                which is called after `loss`. It must be given.
            grad_loss: the gradient with respect to the loss; ones by default.
            name: a name for the operation in a graph.
            tape: the tape to use; needed if `loss` is a tensor.

        Returns:
            The same as `apply_gradients`.

        Raises:
            TypeError: if there is no `var_list`.
            ValueError: if something in `var_list` is not a variable, or `loss` is a tensor
                and there is no tape.
        """
        # Only what was given: a subclass may override it with fewer arguments.
        given = {n: v for n, v in (("tape", tape), ("grad_loss", grad_loss)) if v is not None}
        return self.apply_gradients(self.compute_gradients(loss, var_list, **given), name=name)

    @plain_python
    def compute_gradients(
        self,
        loss: Any,
        var_list: Any,
        tape: tf.GradientTape | None = None,
        grad_loss: Any = None,
    ) -> list[tuple[Any, Any]]:
        """Computes (gradient, variable) pairs of the scaled loss: the first half of `minimize`.

        A subclass may override it, with tf-keras' arguments: `loss`, `var_list` and `tape`.

        Args:
            loss: a function without arguments that returns the loss, or a tensor that was computed
                under `tape`.
            var_list: the variables, or a function without arguments that returns them.
            tape: the tape to use; needed if `loss` is a tensor.
            grad_loss: the gradient with respect to the loss; ones by default.

        Returns:
            The pairs. A gradient is None if the loss does not depend on the variable.
        """
        return self._compute_gradients(loss, var_list, grad_loss=grad_loss, tape=tape)

    def _compute_gradients(
        self, loss: Any, var_list: Any, grad_loss: Any = None, tape: Any = None
    ) -> list[tuple[Any, Any]]:
        """Computes the pairs for `compute_gradients`: OptimizerV2's name, for its wrappers."""
        return minimize.compute_gradients(self, loss, var_list, grad_loss, tape)

    def get_gradients(self, loss: Any, params: Any) -> list[Any]:
        """Returns the gradients of a loss tensor, in a graph.

        Args:
            loss: the loss.
            params: the variables.

        Returns:
            A tensor for each variable.

        Raises:
            ValueError: if the loss does not depend on one of them by differentiable ops.
            RuntimeError: in eager mode, which has no graph to differentiate.
        """
        return minimize.get_gradients(loss, params)

    def get_updates(self, loss: Any, params: Any) -> list[Any]:
        """Returns a list of one operation, which minimizes a loss tensor in a graph."""
        gradients = self.get_gradients(self.scale_loss(loss), params)
        variables = minimize.checked_variables(params)
        return [self.apply_gradients(zip(gradients, variables, strict=True))]

    # Private names that Keras 3 and tf-keras read.

    @property
    def _trainable_variables(self) -> list[Any]:
        """The model variables seen: a property, so that no parent module finds them here."""
        return self._engine.state.variables()

    @property
    def _learning_rate(self) -> Any:
        """The schedule or variable: tf-keras' TensorBoard callback looks for a schedule."""
        value = self._engine.hypers["learning_rate"]
        return value.source if value.source is not None else value.read()

    @property
    def _model_variables_moving_average(self) -> Any:
        """The averages, which Keras 3's `SwapEMAWeights` swaps with `_trainable_variables`."""
        if not self.use_ema:
            raise AttributeError("there are no averages without `use_ema`")
        return UpToDateAverages(self._engine)

    @property
    def _distribution_strategy(self) -> Any:
        """The strategy of the variables: tf-keras' TensorBoard callback reads it."""
        for variable in self._trainable_variables:
            if isinstance(variable, tf.distribute.DistributedValues):
                return variable.distribute_strategy
        return tf.distribute.get_strategy()

    def _obj_type(self) -> str:
        return "Optimizer"

    # What tf-keras' loss-scale wrapper and training loop read.
    _built = property(lambda self: self.built)
    _run_with_dtensor = False
    _mesh = None

    add_variable = NotOffered("use `add_weight`")
    add_optimizer_variables = NotOffered("declare `slots`, or use `add_slot`")
    add_variable_from_reference = NotOffered("declare `slots`, or use `add_slot`")
    assign = NotOffered("assign to the variable")
    assign_add = NotOffered("assign to the variable")
    assign_sub = NotOffered("assign to the variable")
    stateless_apply = NotOffered("it is for Keras' JAX backend")
    update_step = NotOffered("override `update`, or `resource_apply_dense`")


def paired(
    optimizer: Any, grads: Sequence[Any], trainable_variables: Sequence[Any] | None
) -> list[tuple[Any, Any]]:
    """Pairs gradients with their variables; without variables, with all that were seen."""
    if trainable_variables is None:
        trainable_variables = optimizer._engine.groups.seen()
        if not trainable_variables:
            raise ValueError(
                "`trainable_variables` must be given until the optimizer has seen variables; got "
                "None. Write `apply(grads, variables)`, or call `build(variables)` first."
            )
    grads, variables = list(grads), list(trainable_variables)
    if len(grads) != len(variables):
        raise ValueError(
            f"`grads` must have a gradient for each of {len(variables)} variables; "
            f"got {len(grads)}."
        )
    return list(zip(grads, variables, strict=True))
