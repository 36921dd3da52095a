"""The policies that all optimizers share, as an optimizer offers them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from tfopt import _accumulate, _distribute, _ema, _gradients, _precision, _variables
from tfopt._variables import plain_python


class Policies:
    """What an optimizer does around its update; each policy has a file of its own."""

    # From the other parts of an optimizer.
    use_ema: bool
    gradient_accumulation_steps: int | None
    skip_nonfinite: bool
    master_weights: bool
    built: bool
    iterations: Any
    _hypers: Any
    _slots: Any
    _moves_rows: Any
    _current: Any
    _counter: Any
    _apply: Any
    _result: Any
    _saved: Any
    _pending: Any
    build: Any

    _skip: _precision.Guard | None
    _windows: dict[Any, Any]

    def _init_policies(self) -> None:
        self.__dict__.update(
            _skip=None,
            _windows={},  # the last call's variables for each counter of micro-steps
        )

    @plain_python
    def flush(self) -> Any:
        """Applies gradients that have accumulated in a window which is not full.

        The last window of an epoch may be one: it counts as much as any other, since its
        gradient is the mean over the calls that there were. Under a strategy it belongs into
        `strategy.run`, as `apply_gradients` does.

        Returns:
            The new value of `iterations`; in a v1 graph the operation.
        """
        return self._flush(self._guard)

    def _flush(self, guard: _precision.Guard | None) -> Any:
        if self._accumulates and not self.built and tf.inside_function():
            raise RuntimeError(
                "`flush` was traced before the optimizer has seen variables, and would never do "
                "anything: call `build` with them first."
            )
        if not (self._accumulates and self.built):
            return self._result(self.iterations.read_value(), None)
        _distribute.require_replica_context(self._slots.variables.values())
        flush = functools.partial(self._flush_windows, guard)
        if _variables.in_v1_graph():  # where only functions keep reads and writes in order
            flush = tf.function(flush, autograph=False)
        return self._result(flush(), None)

    def _flush_windows(self, guard: _precision.Guard | None) -> Any:
        values = self._hypers.evaluate()
        for window in _accumulate.windows(self):
            apply = functools.partial(
                self._apply, window.pairs, values=values, aggregate=window.aggregate, guard=guard
            )
            _accumulate.flush(self, window, apply)
        return self.iterations.read_value()

    def _pair(self, variable: Any) -> _gradients.Pair:
        """A variable that was seen, as a step sees it, without a gradient."""
        given = self._slots.given(variable)
        return _gradients.Pair(None, variable, given, getattr(given, "constraint", None))

    @contextlib.contextmanager
    def averaged_weights(self, var_list: Iterable[Any] | None = None) -> Iterator[None]:
        """A context in which variables have their averages as values: to evaluate, or to save.

        On leaving it they have their own values again; it is no place to train.

        Args:
            var_list: the variables; all that the optimizer has seen by default.

        Raises:
            ValueError: without `use_ema`.

        >>> x = tf.Variable(1.0)
        >>> opt = tfopt.SGD(1.0, use_ema=True, ema_momentum=0.5)
        >>> _ = opt.apply_gradients([(1.0, x)])
        >>> with opt.averaged_weights():
        ...     print(float(x))
        0.5
        >>> float(x)
        0.0
        """
        if not self.use_ema:
            raise ValueError("`averaged_weights` needs `use_ema` to be True; it is False.")
        pairs = self._settled_averages(var_list)
        variables = [variable for variable, _ in pairs]
        before = _variables.values_of(variables)
        try:
            _assign_averages(pairs)
            yield
        finally:
            _variables.assign_all(list(zip(variables, before, strict=True)))

    def finalize_variable_values(self, var_list: Iterable[Any]) -> None:
        """Gives variables their averages as values, for good. Keras' `fit` does so at its end.

        Args:
            var_list: the variables; those without an average are left as they are.
        """
        if self.use_ema:
            _assign_averages(self._settled_averages(var_list))

    def _settled_averages(self, var_list: Iterable[Any] | None) -> list[tuple[Any, Any]]:
        """(variable, average) pairs, before the variables change in another way than by a step."""
        if var_list is not None and not self.built and (self._saved or self._pending):
            self.build(list(var_list))
        variables = list(self._slots.variables.values() if var_list is None else var_list)
        _ema.settle(self, variables)
        return list(_ema.averages(self, variables))

    @property
    def skipped_steps(self) -> Any:
        """How many steps `skip_nonfinite` left out: an int64 variable, or 0 without it."""
        return self._counter(_precision.SKIPPED) if self.skip_nonfinite else 0

    def scale_loss(self, loss: Any) -> Any:
        """The loss times `loss_scale_factor`, if there is one: what is to be differentiated."""
        factor = self._current("loss_scale_factor")
        return loss if factor is None else loss * tf.cast(factor, loss.dtype)

    # --- for the step -----------------------------------------------------------------------------

    @property
    def _guard(self) -> _precision.Guard | None:
        """What decides whether a step is taken."""
        if self.skip_nonfinite and self._skip is None:
            self.__dict__["_skip"] = _precision.SkipNonfinite(self)
        return self._skip

    @property
    def _accumulates(self) -> bool:
        return (self.gradient_accumulation_steps or 1) > 1

    def _unscale(
        self, gradients: list[Any], values: dict[str, Any], guard: _precision.Guard | None
    ) -> list[Any]:
        for scale in (self._current("loss_scale_factor", values), guard and guard.scale):
            if scale is not None:
                gradients = [_gradients.divided(gradient, scale) for gradient in gradients]
        return gradients

    def _policy_slots(self, x: Any, first: bool) -> dict[str, Any]:
        """The slots that the policies in use need for a variable."""
        by_rows = self._moves_rows() and bool(x.shape.rank)
        slots: dict[str, Any] = {}
        if self.master_weights:
            slots |= _precision.slots(x)
        if self.use_ema:
            slots |= _ema.slots(x, _variables.first_value(self.iterations), by_rows)
        if self._accumulates:
            _distribute.require_copies("`gradient_accumulation_steps`")
            slots |= _accumulate.slots(x, first, by_rows)
        return slots

    def _policy_counters(self) -> list[str]:
        return [_precision.SKIPPED] if self.skip_nonfinite else []


def _assign_averages(pairs: Sequence[tuple[Any, Any]]) -> None:
    values = _variables.evaluate([average for _, average in pairs])
    _variables.assign_all([(v, value) for (v, _), value in zip(pairs, values, strict=True)])
