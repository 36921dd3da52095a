"""Evaluation weights: averages with which a model is evaluated in place of the trained weights.

They are the averages of `use_ema`, or what the formula of an optimizer returns in `evaluated`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow as tf

from tfopt._engine.engine import Engine
from tfopt._engine.policy import Policy
from tfopt._engine.scalars import Scalars, hyperparameters
from tfopt._engine.variable_groups import numeric
from tfopt._libraries import replicas, tf_variables
from tfopt._policies import exponential_moving_average
from tfopt._policies.exponential_moving_average import Averages, assign
from tfopt._values.cells_and_codecs import VALUE


@contextlib.contextmanager
def evaluation_weights(self: Any, var_list: Iterable[Any] | None = None) -> Iterator[None]:
    """Gives variables their evaluation weights inside a `with` block: to evaluate or to export.

    These are averages: those of `use_ema`, or those that the optimizer keeps itself. After the
    block the variables have their own values again, also if an exception ended it. Do not train
    inside the block. In a `tf.function`, an exception does not put the values back.

    A file that is saved inside the block holds evaluation weights. If you load it to train further,
    a warning says so: save outside of the block to resume.

    Args:
        var_list: the variables; all that the optimizer has seen by default.

    Raises:
        ValueError: if the optimizer has no evaluation weights.

    >>> x = tf.Variable(1.0)
    >>> opt = tfopt.SGD(1.0, use_ema=True, ema_momentum=0.5)
    >>> _ = opt.apply_gradients([(1.0, x)])
    >>> with opt.evaluation_weights():
    ...     print(float(x))
    0.5
    >>> float(x)
    0.0
    """
    engine = self._engine
    if not has_evaluation_weights(engine):
        raise ValueError(
            f"`evaluation_weights` needs `use_ema` to be True, or an optimizer that averages by "
            f"itself; {type(self).__name__} has `use_ema` False."
        )
    if engine.state.is_evaluated:
        raise RuntimeError("`evaluation_weights` must not be entered twice.")
    pairs = _pairs(engine, var_list)
    traced = tf.inside_function()
    variables = [variable for variable, _ in pairs]
    before = [v.read_value() for v in variables] if traced else tf_variables.values_of(variables)
    back = list(zip(variables, before, strict=True))
    try:
        engine.state.is_evaluated = True
        assign(pairs)
        yield
    finally:
        engine.state.is_evaluated = False
        (assign if traced else tf_variables.assign_all)(back)


def averaged_weights(self: Any, var_list: Iterable[Any] | None = None) -> Any:
    """Another name for `evaluation_weights`."""
    return self.evaluation_weights(var_list)


def finalize_variable_values(self: Any, var_list: Iterable[Any]) -> None:
    """Gives variables their evaluation weights, permanently. Keras' `fit` calls it at its end.

    Args:
        var_list: the variables. A variable without evaluation weights does not change.
    """
    if has_evaluation_weights(self._engine) and not self._engine.state.is_evaluated:
        assign(_pairs(self._engine, var_list))


def has_evaluation_weights(engine: Engine) -> bool:
    """Returns whether the optimizer has evaluation weights, by its keywords or by its formula."""
    return bool(engine.statics["use_ema"]) or engine.optimizer.averages_itself


def _pairs(engine: Engine, var_list: Iterable[Any] | None) -> list[tuple[Any, Any]]:
    """Returns variables and their evaluation weights."""
    if engine.statics["use_ema"]:
        return exponential_moving_average.up_to_date(engine, var_list)
    if var_list is not None:
        engine.state.build_if_waiting(list(var_list))
    variables = list(engine.state.variables() if var_list is None else var_list)
    step = engine.step(engine.hypers.evaluate(), aggregate=False)
    step = step._replace(iterations=replicas.read_alike(engine.state.iterations))
    found = []
    for variable in tf_variables.shards(map(tf_variables.unwrap, variables)):
        cells = engine.state.cells(variable)
        slots = {n: cell.read() for n, cell in cells.items() if engine.is_own_slot(n)}
        dtype = tf_variables.compute_dtype(variable.dtype)
        if slots:
            x = tf.cast(cells[VALUE].read(), dtype)
            known = engine.groups.of(variable)
            h = hyperparameters(step, dtype, numeric(known.group), known.role)
            value = engine.evaluated(x, Scalars(**slots), h)
            found.append((variable, tf.cast(value, variable.dtype)))
    return found


class EvaluationWeights(Policy):
    """Offers what users call. The weights themselves are those of `Averages`, or of a formula."""

    offers = {
        "evaluation_weights": evaluation_weights,
        "averaged_weights": averaged_weights,
        "finalize_variable_values": finalize_variable_values,
    }

    @classmethod
    def is_used_by(cls, engine: Engine) -> bool:
        """Returns False: it takes no part in a step."""
        return False

    @classmethod
    def check(cls, engine: Engine) -> None:
        """Raises if there would be two kinds of evaluation weights."""
        if Averages.is_used_by(engine) and engine.optimizer.averages_itself:
            raise ValueError(
                f"`use_ema` must be False: {type(engine.optimizer).__name__} has evaluation "
                "weights of its own; got True."
            )
