"""The hooks that a subclass written for OptimizerV2 may override: from a loss to an update."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import tensorflow as tf

from tfopt._engine import check_gradients, gradient_arithmetic
from tfopt._engine.engine import Engine
from tfopt._engine.step_in_progress import step_of
from tfopt._libraries import replicas, tf_variables
from tfopt._values import rows

GradientsAndVariables = list[tuple[Any, Any]]


class StepHooks:
    """The hooks of a step, in the order in which OptimizerV2 calls them."""

    _engine: Engine
    _name: str
    _decayed_lr: Callable[[Any], Any]
    clipnorm: Any
    clipvalue: Any
    global_clipnorm: Any
    gradient_aggregator: Any
    gradient_transformers: Any

    # --- from a loss to gradients -----------------------------------------------------------------

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
        """Returns the loss to differentiate. Override it to change the loss."""
        return loss

    def _get_gradients(
        self, tape: Any, loss: Any, var_list: Sequence[Any], grad_loss: Any = None
    ) -> GradientsAndVariables:
        """Returns (gradient, variable) pairs. Override it to differentiate in another way."""
        return list(zip(tape.gradient(loss, var_list, grad_loss), var_list, strict=True))

    def _valid_dtypes(self) -> Iterable[tf.DType]:
        """Returns the dtypes that variables may have. Override it to allow fewer."""
        return {*check_gradients.FLOATING, tf.complex64, tf.complex128}

    def _assert_valid_dtypes(self, tensors: Iterable[Any]) -> None:
        valid = self._valid_dtypes()
        for tensor in tensors:
            if tensor.dtype.base_dtype not in valid:
                raise ValueError(
                    f"Variable `{tf_variables.variable_path(tensor)}` must be of one of the dtypes "
                    f"{sorted(dtype.name for dtype in valid)}; got {tensor.dtype.name}."
                )

    # --- a step -----------------------------------------------------------------------------------

    def scale_loss(self, loss: Any) -> Any:
        """Returns the loss itself, which is not scaled."""
        return loss

    def finalize_variable_values(self, var_list: Iterable[Any]) -> None:
        """Does nothing: there are no averages. `fit` calls it after training."""

    def resource_apply_dense(self, grad: Any, var: Any) -> Any:
        """Calls `_resource_apply_dense`, with `apply_state` if it takes this argument.

        Args:
            grad: the gradient, summed over replicas and clipped.
            var: the variable: one replica's copy, if it is mirrored.

        Returns:
            What the hook returns.
        """
        return self._resource_apply_dense(grad, var, **self._state_for(self._dense_apply_args))

    def resource_apply_sparse(self, grad: Any, var: Any, indices: Any) -> Any:
        """Calls `_resource_apply_sparse_duplicate_indices`, with `apply_state` if it takes it.

        Args:
            grad: rows of the gradient.
            var: the variable: one replica's copy, if it is mirrored.
            indices: which rows they are, possibly repeated.

        Returns:
            What the hook returns.
        """
        state = self._state_for(self._sparse_apply_args)
        return self._resource_apply_sparse_duplicate_indices(grad, var, indices, **state)

    def _state_for(self, arguments: list[str]) -> dict[str, Any]:
        step = step_of(self._engine)  # None if a wrapper calls hooks outside of a step
        apply_state = step.scalars if step is not None else None
        return {"apply_state": apply_state} if "apply_state" in arguments else {}

    def _transform_unaggregated_gradients(
        self, grads_and_vars: GradientsAndVariables
    ) -> GradientsAndVariables:
        """Returns one replica's gradients, before they are summed. Override it to change them."""
        return grads_and_vars

    def _aggregate_gradients(self, grads_and_vars: GradientsAndVariables) -> GradientsAndVariables:
        """Sums gradients over replicas. Override it to sum in another way."""
        return list(self.gradient_aggregator(grads_and_vars))

    def aggregate_gradients(self, grads_and_vars: Any) -> GradientsAndVariables:
        """Returns the pairs with each gradient summed over replicas.

        Args:
            grads_and_vars: (gradient, variable) pairs.

        Returns:
            What `_aggregate_gradients` returns.
        """
        return self._aggregate_gradients(list(grads_and_vars))

    def _transform_gradients(self, grads_and_vars: GradientsAndVariables) -> GradientsAndVariables:
        """Clips the summed gradients and calls the gradient transformers. You may override it."""
        grads_and_vars = list(grads_and_vars)
        variables = [variable for _, variable in grads_and_vars]
        gradients = [gradient for gradient, _ in grads_and_vars]
        if type(self)._clip_gradients is StepHooks._clip_gradients:
            clipped = self._clipped(gradients, variables)
        else:
            clipped = self._clip_gradients(gradients)
        grads_and_vars = list(zip(clipped, variables, strict=True))
        for transformer in self.gradient_transformers:
            grads_and_vars = transformer(grads_and_vars)
        return grads_and_vars

    def _clip_gradients(self, grads: Sequence[Any]) -> list[Any]:
        """Clips gradients, as the attributes say. OptimizerV2 had this method until TF 2.3."""
        return self._clipped(grads, [None] * len(grads))

    def _clipped(self, grads: Sequence[Any], variables: Sequence[Any]) -> list[Any]:
        limits = (self.clipvalue, self.clipnorm, self.global_clipnorm)
        if all(limit is None for limit in limits):
            return list(grads)
        summed = [_with_repeated_rows_summed(gradient) for gradient in grads]
        return gradient_arithmetic.clipped(summed, variables, *limits)

    def _prepare(self, var_list: Sequence[Any]) -> dict[Any, dict[str, Any]]:
        """Returns `apply_state`: what `_prepare_local` computes for each device and dtype."""
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
        """Returns what `_prepare_local` computes for one device and dtype, outside of a step."""
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
        """Updates the variable `handle` with a dense gradient: override it."""
        raise NotImplementedError(f"{type(self).__name__} must define `_resource_apply_dense`.")

    def _resource_apply_sparse(self, grad: Any, handle: Any, indices: Any, apply_state: Any) -> Any:
        """Updates rows of `handle`, none of which is repeated: override it."""
        raise NotImplementedError(f"{type(self).__name__} must define `_resource_apply_sparse`.")

    def _resource_apply_sparse_duplicate_indices(
        self, grad: Any, handle: Any, indices: Any, **kwargs: Any
    ) -> Any:
        """Sums repeated rows for `_resource_apply_sparse`. May be overridden."""
        summed = gradient_arithmetic.cast(
            _with_repeated_rows_summed(tf.IndexedSlices(grad, indices)), grad.dtype
        )
        return self._resource_apply_sparse(summed.values, handle, summed.indices, **kwargs)

    def _resource_scatter_add(self, x: Any, i: Any, v: Any) -> Any:
        """Adds to rows of a variable; gives its new value."""
        return x.scatter_add(tf.IndexedSlices(v, i)).value()

    def _resource_scatter_update(self, x: Any, i: Any, v: Any) -> Any:
        """Overwrites rows of a variable; gives its new value."""
        return x.scatter_update(tf.IndexedSlices(v, i)).value()


def _with_repeated_rows_summed(gradient: Any) -> Any:
    return rows.deduplicate(gradient) if isinstance(gradient, tf.IndexedSlices) else gradient


def _unwrapped(var_list: Any) -> list[Any]:
    return [tf_variables.unwrap(variable) for variable in tf.nest.flatten(var_list)]
