"""`Watch` records figures of an optimizer's steps, by a policy that it adds to them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from tfopt._engine import gradient_arithmetic
from tfopt._engine.engine import Engine
from tfopt._engine.members import biases_and_norms
from tfopt._engine.policy import Policies, Policy, Works
from tfopt._engine.step_records import Step
from tfopt._libraries import tf_variables
from tfopt._libraries.warnings import warn
from tfopt._policies.clipping import Clipping
from tfopt.inspect.argument_checks import check_integer_at_least, unwrapped_optimizer
from tfopt.inspect.optional_imports import import_optional
from tfopt.inspect.update_ratios import UpdateRatios, health


class Watch:
    """Records figures of an optimizer's steps: in `figures`, and for TensorBoard.

    Create a `Watch` before the functions that train are traced, since tracing fixes what they
    compute. While it is open, each step also takes the norm of the gradients, which reads them
    once more. Functions that are traced before it is created, or after `close`, compute nothing
    for it.

    The figures of a step:

    - `learning_rate`, with `decay`;
    - `gradient_norm`: of all gradients together, after the sum over replicas and before
      clipping;
    - `clipped_gradients`: how many gradients clipping has changed since the last record;
    - `update_ratio`: the norm of the change of all weights over the norm of the weights, and
      with `per_variable` for each variable too, as `update_ratio/<path>`. It costs a copy of
      the weights, in recorded steps only.

    `health` says in words which variables take steps that are much too large or too small.

    An optimizer has one `Watch` at a time. A new one closes the one before, which may be left from
    a cell of a notebook that was interrupted.

    Args:
        optimizer: one of tfopt's, or a loss-scale wrapper of one.
        log_dir: the folder for TensorBoard, or a `tf.summary.SummaryWriter`; by default nothing
            is written.
        every: how many steps lie between two records, at least 1. Only steps that are applied
            have norms: with `gradient_accumulation_steps`, take a multiple of that.
        variables: a model, or the variables for `update_ratio`; by default those that the
            optimizer has seen, which are none before its first step.
        per_variable: whether to record `update_ratio` for each variable.

    Raises:
        TypeError: if `optimizer` is not one of tfopt's.
        ValueError: if `every` is less than 1.
        ImportError: if `log_dir` is a path, and TensorBoard is not installed.

    >>> x = tf.Variable([3.0, 4.0])
    >>> opt = tfopt.SGD(0.5, clipnorm=1.0)
    >>> with tfopt.inspect.Watch(opt, variables=[x]) as watch:
    ...     with watch.step():
    ...         _ = opt.minimize(lambda: tf.reduce_sum(x * x) / 2, [x])
    >>> watch.figures
    {'learning_rate': 0.5, 'update_ratio': 0.1, 'gradient_norm': 5.0, 'clipped_gradients': 1}
    """

    def __init__(
        self,
        optimizer: Any,
        log_dir: Any = None,
        *,
        every: int = 1,
        variables: Any = None,
        per_variable: bool = False,
    ):
        optimizer = unwrapped_optimizer(optimizer)
        check_integer_at_least("every", every, 1)
        self.optimizer = optimizer
        self.every = every
        self.figures: dict[str, float] = {}
        self._variables = getattr(variables, "trainable_variables", variables)
        self._per_variable = per_variable
        is_path = log_dir is not None and not hasattr(log_dir, "as_default")
        if is_path:
            import_optional("tensorboard")  # which `tf.summary` asks for at the first record only
        self._writer = tf.summary.create_file_writer(str(log_dir)) if is_path else log_dir
        self._steps_begun = 0
        self._is_open = True
        self._ratios = UpdateRatios()
        self._with_rows: set[str] = set()  # paths of variables that had gradients of rows
        self._recorded: dict[str, Any] = {}  # the variables that `record` writes, by name
        self._clipped_at_last_record = 0
        if optimizer._engine.watch is not None:
            optimizer._engine.watch.stop()
        optimizer._engine.watch = self

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Surrounds one training step, however it is made, and records every so many of them.

        Raises:
            RuntimeError: if this `Watch` is closed.
        """
        if not self._is_open:
            raise RuntimeError(
                "This Watch is closed, by `close` or by a newer Watch of the same optimizer, which "
                "has one at a time. Make a new Watch, before the function that trains is traced."
            )
        self._steps_begun += 1
        if self._steps_begun % self.every:
            yield
            return
        figures = self._learning_rate()
        steps_recorded, iterations = self._read_recorded("steps"), self._iterations()
        copies = [tf.identity(tf_variables.unwrap(v)) for v in self._watched_variables()]
        yield
        figures.update(self._update_ratios(copies, self._iterations() > iterations))
        if self._read_recorded("steps") > steps_recorded:
            figures["gradient_norm"] = float(self._read_recorded("norm"))
            clipped = int(self._read_recorded("clipped"))
            figures["clipped_gradients"] = clipped - self._clipped_at_last_record
            self._clipped_at_last_record = clipped
        elif self._iterations() > iterations:
            warn(
                "Watch saw nothing of a step that its optimizer made, so there are no norms: the "
                "function that trains was traced before Watch was made."
            )
        self.figures = figures
        self.write()

    def write(self, step: int | None = None) -> None:
        """Writes the last figures by `tf.summary.scalar`, if there is a `log_dir`.

        Args:
            step: the step to write them under; the optimizer's `iterations` by default.
        """
        if self._writer is None:
            return
        step = self._iterations() if step is None else step
        with self._writer.as_default():
            for name, value in self.figures.items():
                tf.summary.scalar(f"optimizer/{name}", value, step=step)

    def health(self) -> list[str]:
        """Says which variables take steps that are much too large or too small.

        It compares the median update ratio of the last 25 recorded steps with 0.001, which is
        usual: Karpathy's rule of thumb. Biases and norms are left out, because a bias begins at
        0. A variable of which a step moves only a few rows is never told to take larger steps.

        Returns:
            A line for each such variable; no line if the ratios of all lie between 1e-6 and 0.1.
        """
        return health(self._ratios.medians(), self._with_rows)

    def write_health(self, step: int | None = None) -> None:
        """Writes the lines of `health` by `tf.summary.text`, if there are any, and a `log_dir`.

        Args:
            step: the step to write them under; the optimizer's `iterations` by default.
        """
        lines = self.health()
        if self._writer is None or not lines:
            return
        step = self._iterations() if step is None else step
        with self._writer.as_default():
            tf.summary.text("optimizer/health", "\n\n".join(lines), step=step)

    def close(self) -> None:
        """Stops watching, flushes what was written, and warns if steps left no figures."""
        was_open = self._is_open
        self.stop()
        if was_open and not self.figures and int(self._read_recorded("steps")) > 0:
            warn(
                "Watch recorded no figures: "
                + (
                    f"there were {self._steps_begun} steps, and `every` is {self.every}."
                    if self._steps_begun
                    else "surround each training step by `with watch.step():`."
                )
            )

    def stop(self) -> None:
        """Stops watching, as `close` does, without a warning: for a training that did not end."""
        self._is_open = False
        if self.optimizer._engine.watch is self:
            self.optimizer._engine.watch = None
        if self._writer is not None:
            self._writer.flush()

    # The engine calls `add_recording` for a step, and the policy added calls `record` in it.

    def add_recording(self, policies: Policies) -> Policies:
        """The policies of a step, with a `RecordingClipping` in place of `Clipping` or at the end.

        Args:
            policies: those that the step would have without `Watch`.
        """
        clipping = next((p for p in policies if isinstance(p, Clipping)), None)
        recording = RecordingClipping(self, clipping, self.optimizer._engine)
        if clipping is None:
            return Policies((*policies, recording))
        return Policies(recording if policy is clipping else policy for policy in policies)

    def record(self, before: Works, after: Works) -> None:
        """Records the norm of the gradients, and how many were clipped, from inside a step.

        Args:
            before: the works with gradients summed over replicas.
            after: the same, clipped.
        """
        if not self._recorded:
            with tf.init_scope(), tf_variables.placed_like(before[0].variable):
                dtypes = {"norm": tf.float32, "clipped": tf.int64, "steps": tf.int64}
                self._recorded = {name: _create_recorded(name, d) for name, d in dtypes.items()}
        changed = [
            gradient_arithmetic.changed(old.gradient, new.gradient, new.clip_factor)
            for old, new in zip(before, after, strict=True)
        ]
        self._with_rows |= {work.variable_path for work in before if work.is_sparse}
        self._recorded["norm"].assign(
            gradient_arithmetic.joint_norm([work.gradient for work in before])
        )
        self._recorded["clipped"].assign_add(tf.add_n([tf.cast(c, tf.int64) for c in changed]))
        self._recorded["steps"].assign_add(1)

    # What the figures are computed from.

    def _read_recorded(self, name: str) -> Any:
        return tf_variables.value_of(self._recorded[name]) if self._recorded else 0

    def _iterations(self) -> int:
        return int(tf_variables.value_of(self.optimizer.iterations))

    def _learning_rate(self) -> dict[str, float]:
        if "learning_rate" not in self.optimizer._engine.hypers:
            return {}
        rate = self.optimizer._decayed_lr(tf.float32)
        return {"learning_rate": float(tf_variables.value_of(rate))}

    def _watched_variables(self) -> list[Any]:
        if self._variables is None:
            return self.optimizer._trainable_variables
        return list(self._variables)

    def _update_ratios(self, copies: Sequence[Any], is_step: bool) -> dict[str, float]:
        """The ratios of weights that have changed since the copies of them were made."""
        figures, norms = {}, []
        # A step may bring new variables, of which there is no copy: they come last.
        for variable, before in zip(self._watched_variables(), copies, strict=False):
            wide = tf_variables.compute_dtype(before.dtype)
            before = tf.cast(before, wide)
            change = tf.cast(tf.identity(tf_variables.unwrap(variable)), wide) - before
            norms.append((float(tf.norm(change)), float(tf.norm(before))))
            path, ratio = tf_variables.variable_path(variable), _ratio(*norms[-1])
            if self._per_variable:
                figures[f"update_ratio/{path}"] = ratio
            if is_step and not biases_and_norms(variable):
                self._ratios.add(path, ratio)
        if not norms:
            return {}
        changes, sizes = zip(*norms, strict=True)
        return {"update_ratio": _ratio(math.hypot(*changes), math.hypot(*sizes)), **figures}


class RecordingClipping(Clipping):
    """A policy that clips as another one does, if there is one, and has `Watch` record it.

    Two of them are equal if they are for one `Watch` and one policy, since functions are cached
    by the policies of their steps.
    """

    def __init__(self, watch: Watch, clipping: Policy | None, engine: Engine):
        super().__init__(engine)
        self._watch, self._clipping = watch, clipping

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecordingClipping) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[Watch, Policy | None]:
        return self._watch, self._clipping

    def change_gradients(self, step: Step, works: Works) -> Works:
        """Clips, and records what clipping has changed."""
        clipped = works if self._clipping is None else self._clipping.change_gradients(step, works)
        self._watch.record(works, clipped)
        return clipped


def _create_recorded(name: str, dtype: tf.DType) -> Any:
    """A scalar variable that each replica writes, and that is read from the first."""
    return tf_variables.create(
        tf.zeros([], dtype),
        f"watch/{name}",
        dtype,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )


def _ratio(change: float, size: float) -> float:
    return change / size if size else math.inf if change else 0.0
