"""What an optimizer is doing, for people: a table, figures of its steps, paths on a surface.

Nothing here is imported by training code, and what it draws with (rich, matplotlib,
TensorBoard) is only asked for when it is used: `pip install 'tfopt[inspect]'`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt import _variables
from tfopt._engine import gradients, groups, paths
from tfopt._engine.policy import Policies, Policy, Works
from tfopt._engine.records import Step, Work
from tfopt._libraries import CALLBACKS
from tfopt._policies.clipping import Clipping
from tfopt._policies.decay import WeightDecay
from tfopt._slots import Initial
from tfopt._warnings import warn
from tfopt.optimizer import Optimizer

__all__ = ["Row", "TensorBoard", "Watch", "describe", "plot_trajectories", "summary", "trajectory"]


# --- a table --------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Row:
    """What an optimizer does with one variable.

    Attributes:
        variable: the variable's path.
        shape: its shape.
        dtype: the name of its dtype.
        slots: the shape of each slot, by name.
        slot_bytes: how much memory the slots take, of one copy.
        decays: whether weight decay moves it.
        sparse: what an `IndexedSlices` gradient does: "rows" (lazy: the gradient's rows only),
            "rows_move", "exact" or "whole".
        path: how a dense gradient is applied: "fused" (one TensorFlow kernel), "XLA" (compiled),
            "plain" (separate ops), or "hooks" (the optimizer's own `resource_apply_dense`).
    """

    variable: str
    shape: tuple[int | None, ...]
    dtype: str
    slots: dict[str, tuple[int | None, ...]]
    slot_bytes: int
    decays: bool
    sparse: str
    path: str


def describe(optimizer: Any, variables: Any = None) -> list[Row]:
    """What an optimizer does, or would do, with each variable. It changes nothing.

    Args:
        optimizer: one of tfopt's, or a loss-scale wrapper of one.
        variables: a model, or a list of variables; those that the optimizer has seen by
            default. They need not have slots yet.

    Returns:
        A row for each variable.

    Raises:
        TypeError: if `optimizer` is not one of tfopt's.
        ValueError: if there are no variables.

    >>> [row] = tfopt.inspect.describe(tfopt.Adam(), [tf.Variable(tf.zeros([2, 3]), name="w")])
    >>> row.variable, row.slots, row.slot_bytes, row.sparse, row.path
    ('w', {'m': (2, 3), 'v': (2, 3)}, 48, 'exact', 'fused')
    """
    optimizer = _ours(optimizer)
    variables = getattr(variables, "trainable_variables", variables)
    variables = list(optimizer._trainable_variables if variables is None else variables)
    if not variables:
        raise ValueError(
            "`variables` must be a model or variables, as the optimizer has seen none yet; got "
            "none."
        )
    for original in variables:
        if not isinstance(_variables.unwrap(original), tf.Variable):
            raise TypeError(f"`variables` must be a model or variables; got {original!r}.")
    plans = _plans(optimizer, variables)
    return [_row(optimizer, v, *plan) for v, plan in zip(variables, plans, strict=True)]


def summary(optimizer: Any, variables: Any = None, *, console: Any = None) -> None:
    """Prints what an optimizer does, or would do, with each variable, as a table.

    Args:
        optimizer: one of tfopt's, or a loss-scale wrapper of one.
        variables: a model, or a list of variables; those that the optimizer has seen by
            default.
        console: the `rich.console.Console` to print to; standard output by default.

    Raises:
        ImportError: without rich.
        TypeError: if `optimizer` is not one of tfopt's.
        ValueError: if there are no variables.
    """
    rich = require("rich.console", "rich.table")
    rows = describe(optimizer, variables)
    table = rich.table.Table(title=repr(optimizer), title_justify="left")
    for heading in ("variable", "shape", "slots", "bytes", "decay", "sparse", "path"):
        table.add_column(
            heading, justify="right" if heading == "bytes" else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(
            row.variable,
            f"{_shape_text(row.shape)} {row.dtype}",
            ", ".join(
                name if shape == row.shape else f"{name} {_shape_text(shape)}"
                for name, shape in row.slots.items()
            ),
            f"{row.slot_bytes:,}",
            "yes" if row.decays else "no",
            "rows (lazy)" if row.sparse == "rows" else row.sparse,
            row.path,
        )
    table.caption = f"{len(rows)} variables, {sum(row.slot_bytes for row in rows):,} bytes of slots"
    (console or rich.console.Console()).print(table)


def _row(optimizer: Optimizer, original: Any, slots: Mapping[str, Any], path: str) -> Row:
    engine, variable = optimizer._engine, _variables.unwrap(original)
    rule = engine.rules.get(WeightDecay)
    slots = engine.state.slots.of(variable) or slots
    return Row(
        variable=_variables.path(original),
        shape=tuple(variable.shape),
        dtype=variable.dtype.name,
        slots={name: tuple(slot.shape) for name, slot in slots.items()},
        slot_bytes=sum(s.dtype.size * (s.shape.num_elements() or 0) for s in slots.values()),
        decays=optimizer.uses("weight_decay") and not (rule and rule.covers(original)),
        sparse=engine.rows_word,
        path="plain" if path == "XLA" and _variables.is_on_mesh(variable) else path,
    )


def _plans(optimizer: Optimizer, originals: Sequence[Any]) -> list[tuple[Mapping[str, Any], str]]:
    """The slots that variables get, and the path of a dense update, by the step's own plan.

    It is asked of a copy of the optimizer and of stand-ins for the variables, in a graph that is
    never run, where variables have no memory.
    """
    variables = list(map(_variables.unwrap, originals))
    if optimizer._engine.is_hooked:
        return [(_declared_slots(optimizer, variable), "hooks") for variable in variables]
    with tf.Graph().as_default():
        engine = optimizer._engine.blank_copy()
        stand_ins = []
        for variable in variables:  # of a distributed one, the device is its first copy's
            with tf.device(str(getattr(variable, "device", "") or "")):
                stand_ins.append(_stand_in(variable))
        engine.build(stand_ins)
        step, found = engine.step({}, aggregate=False), []
        for x, original in zip(stand_ins, originals, strict=True):
            group = groups.group_of(optimizer._engine.all_rules(), original)
            works: Works = [Work(tf.zeros_like(x), x, x, None, group)]
            for policy in step.policies:
                if policy.calls_functions_of_users:  # they leave no factor, and are not for this
                    works = [work._replace(clip_factor=None) for work in works]
                else:
                    works = policy.gradients(step, works)
            begun = groups.begin(step, groups.keys_of(works))
            [((path, _, key), updates)] = paths.plan(begun, works).items()
            if isinstance(path, paths.Fused) and not path.accepts(updates[0], begun.scalars[key]):
                path = paths.choose(engine.paths, updates[0], begun.scalars[key], after=path)
            found.append((engine.state.slots.of(x), path.name))
    return found


def _declared_slots(optimizer: Optimizer, variable: Any) -> dict[str, Any]:
    """The slots that an optimizer with hooks declares all the same, as what they are to be."""
    dtype = _variables.compute_dtype(variable.dtype)
    declared = optimizer.slots(variable).items()
    plain = {name: each for name, each in declared if isinstance(each, Initial)}
    return {n: tf.TensorSpec(each.shape(variable.shape), dtype) for n, each in plain.items()}


def _stand_in(variable: Any) -> Any:
    """A variable of the same dtype and shape in the graph at hand; it has no memory."""
    shape = variable.shape
    start = tf.zeros([size or 0 for size in shape], variable.dtype)
    return tf.compat.v1.Variable(start, use_resource=True, shape=shape, validate_shape=False)


def _shape_text(shape: Sequence[int | None]) -> str:
    return " × ".join("?" if size is None else str(size) for size in shape) or "scalar"


# --- figures of steps -----------------------------------------------------------------------------


class Watch:
    """Figures of an optimizer's steps: for TensorBoard, or in `figures`.

    Create it before the functions that train are traced, since what they compute is fixed
    then. While it is open, each step also takes the norm of the gradients, which reads them
    once more. An optimizer that is not watched computes nothing for it; neither does one
    after `close`, in functions traced from then on.

    The figures of a step:

    - `learning_rate`, with `decay`;
    - `gradient_norm`: of all gradients together, after the sum over replicas and before
      clipping;
    - `clipped_gradients`: how many gradients clipping has changed since the last record;
    - `update_ratio`: the norm of the change of all weights over the norm of the weights, and
      with `per_variable` for each variable too, as `update_ratio/<path>`. It costs a copy of
      the weights, in recorded steps only.

    Args:
        optimizer: one of tfopt's, or a loss-scale wrapper of one.
        log_dir: the folder for TensorBoard, or a `tf.summary.SummaryWriter`; nothing is
            written by default.
        every: how many steps lie between two records, at least 1. Norms are of steps that were
            applied: with `gradient_accumulation_steps`, take a multiple of that.
        variables: a model, or the variables for `update_ratio`; those that the optimizer has
            seen by default: none, before its first step.
        per_variable: whether to record `update_ratio` for each variable.

    Raises:
        TypeError: if `optimizer` is not one of tfopt's.
        ValueError: if it is watched already, or `every` is less than 1.

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
        optimizer = _ours(optimizer)
        if optimizer._engine.watch is not None:
            raise ValueError(
                f"`optimizer` must not be watched already: close its Watch; got {optimizer!r}."
            )
        _check_at_least("every", every, 1)
        self.optimizer = optimizer
        self.every = every
        self.figures: dict[str, float] = {}
        self._variables = getattr(variables, "trainable_variables", variables)
        self._per_variable = per_variable
        is_path = log_dir is not None and not hasattr(log_dir, "as_default")
        self._writer = tf.summary.create_file_writer(str(log_dir)) if is_path else log_dir
        self._begun = 0  # steps
        self._totals: dict[str, Any] = {}  # variables that the steps write
        self._clipped_before = 0  # at the last record
        self._attach(self)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Surrounds one step of training, however it is made; records every so many of them."""
        self._begun += 1
        if self._begun % self.every:
            yield
            return
        figures = self._learning_rate()
        seen, iterations = self._total("steps"), self._iterations()
        copies = [tf.identity(_variables.unwrap(v)) for v in self._watched()]
        yield
        figures.update(self._update_ratios(copies))
        if self._total("steps") > seen:
            figures["gradient_norm"] = float(self._total("norm"))
            clipped = int(self._total("clipped"))
            figures["clipped_gradients"] = clipped - self._clipped_before
            self._clipped_before = clipped
        elif self._iterations() > iterations:
            warn(
                "Watch saw nothing of a step that its optimizer made, so there are no norms: the "
                "function that trains was traced before Watch was made."
            )
        self.figures = figures
        self.write()

    def write(self, step: int | None = None) -> None:
        """Writes the last figures by `tf.summary.scalar`, if there is somewhere to write.

        Args:
            step: the step to write them under; the optimizer's `iterations` by default.
        """
        if self._writer is None:
            return
        step = self._iterations() if step is None else step
        with self._writer.as_default():
            for name, value in self.figures.items():
                tf.summary.scalar(f"optimizer/{name}", value, step=step)

    def close(self) -> None:
        """Stops watching, and flushes what was written."""
        if self.optimizer._engine.watch is self:
            self._attach(None)
        if self._writer is not None:
            self._writer.flush()

    def _attach(self, watch: Watch | None) -> None:
        self.optimizer._engine.watch = watch

    # What the engine asks, and what it calls in each replica.

    def among(self, policies: Policies) -> Policies:
        """The policies of a step, with one that looks on in place of what clips."""
        clipping = next((p for p in policies if isinstance(p, Clipping)), None)
        watching = _Watching(self, clipping, self.optimizer._engine)
        if clipping is None:
            return Policies((*policies, watching))
        return Policies(watching if policy is clipping else policy for policy in policies)

    def see(self, before: Works, after: Works) -> None:
        """Notes the figures of a step, inside of it.

        Args:
            before: the works with gradients summed over replicas.
            after: the same, clipped.
        """
        if not self._totals:
            with tf.init_scope(), _variables.beside(before[0].variable):
                dtypes = {"norm": tf.float32, "clipped": tf.int64, "steps": tf.int64}
                self._totals = {name: _total_variable(name, d) for name, d in dtypes.items()}
        changed = [
            gradients.changed(old.gradient, new.gradient, new.clip_factor)
            for old, new in zip(before, after, strict=True)
        ]
        self._totals["norm"].assign(gradients.joint_norm([work.gradient for work in before]))
        self._totals["clipped"].assign_add(tf.add_n([tf.cast(c, tf.int64) for c in changed]))
        self._totals["steps"].assign_add(1)

    # What the records are made of.

    def _iterations(self) -> int:
        return int(_variables.value_of(self.optimizer.iterations))

    def _learning_rate(self) -> dict[str, float]:
        if "learning_rate" not in self.optimizer._engine.hypers:
            return {}
        rate = self.optimizer._decayed_lr(tf.float32)
        return {"learning_rate": float(_variables.value_of(rate))}

    def _watched(self) -> list[Any]:
        if self._variables is None:
            return self.optimizer._trainable_variables
        return list(self._variables)

    def _total(self, name: str) -> Any:
        return _variables.value_of(self._totals[name]) if self._totals else 0

    def _update_ratios(self, copies: Sequence[Any]) -> dict[str, float]:
        figures, norms = {}, []
        for variable, before in zip(self._watched(), copies, strict=False):
            wide = _variables.compute_dtype(before.dtype)
            before = tf.cast(before, wide)
            change = tf.cast(tf.identity(_variables.unwrap(variable)), wide) - before
            norms.append((float(tf.norm(change)), float(tf.norm(before))))
            if self._per_variable:
                name = f"update_ratio/{_variables.path(variable)}"
                figures[name] = _ratio(*norms[-1])
        if not norms:
            return {}
        changes, sizes = zip(*norms, strict=True)
        return {"update_ratio": _ratio(math.hypot(*changes), math.hypot(*sizes)), **figures}


class _Watching(Clipping):
    """Clips as the policy that it stands for does, if there is one, and looks on.

    Equal for one Watch and one policy, since steps are cached by the policies that they have.
    """

    def __init__(self, watch: Watch, clipping: Policy | None, engine: Any):
        super().__init__(engine)
        self._what = watch, clipping

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Watching) and self._what == other._what

    def __hash__(self) -> int:
        return hash(self._what)

    def gradients(self, step: Step, works: Works) -> Works:
        """Clips; notes what came of it."""
        watch, clipping = self._what
        clipped = works if clipping is None else clipping.gradients(step, works)
        watch.see(works, clipped)
        return clipped


class TensorBoard(*CALLBACKS):  # type: ignore[misc]
    """A Keras callback, of both Kerases, that writes the figures of `Watch` to TensorBoard.

    The figures are in `watch.figures` too. The train function is traced anew as training
    begins, and again as it ends, so that training without it costs nothing. With
    `steps_per_execution`, a record is about the last step of an execution, and the update
    ratio about all of its steps.

    Args:
        log_dir: the folder for TensorBoard, or a `tf.summary.SummaryWriter`.
        every: how many batches lie between two records, at least 1.
        per_variable: whether to record the update ratio of each variable too.

    Raises:
        TypeError: when training begins, if the model's optimizer is not one of tfopt's.
        ValueError: if `every` is less than 1.
    """

    def __init__(self, log_dir: Any, *, every: int = 10, per_variable: bool = False):
        super().__init__()
        _check_at_least("every", every, 1)
        self._arguments = {"log_dir": log_dir, "every": every, "per_variable": per_variable}
        self.watch: Watch | None = None
        self._step: Any = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Starts to watch the model's optimizer."""
        if self.watch is not None:
            self.watch.close()  # of a training that was interrupted
        self.watch = Watch(self.model.optimizer, **self._arguments)
        self.model.make_train_function(force=True)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Begins a step."""
        assert self.watch is not None
        self._step = self.watch.step()
        self._step.__enter__()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Ends a step, and records it if it is its turn."""
        self._step.__exit__(None, None, None)

    def on_train_end(self, logs: Any = None) -> None:
        """Stops watching."""
        assert self.watch is not None
        self.watch.close()
        self.model.make_train_function(force=True)


def _total_variable(name: str, dtype: tf.DType) -> Any:
    """A scalar that each replica writes and one of them is read from."""
    return _variables.create(
        tf.zeros([], dtype),
        f"watch/{name}",
        dtype,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )


def _ratio(change: float, size: float) -> float:
    return change / size if size else math.inf if change else 0.0


# --- paths on a surface ---------------------------------------------------------------------------


def trajectory(optimizer: Any, loss_fn: Callable[[Any, Any], Any], start: Any, steps: int) -> Any:
    """The points that an optimizer visits on a surface of two parameters.

    Args:
        optimizer: one of tfopt's or Keras'; a fresh one of its config is used.
        loss_fn: the loss of x and y, scalars.
        start: the first point, two numbers.
        steps: how many steps to make, at least 0.

    Returns:
        An array of steps + 1 points.

    Raises:
        ValueError: if `start` is not two numbers, or `steps` is less than 0.

    >>> tfopt.inspect.trajectory(tfopt.SGD(0.25), lambda x, y: x**2 + y**2, (2, 4), 2)
    array([[2. , 4. ],
           [1. , 2. ],
           [0.5, 1. ]], dtype=float32)
    """
    _check_at_least("steps", steps, 0)
    if np.shape(start) != (2,):
        raise ValueError(f"`start` must be two numbers; got {start!r}.")
    optimizer = type(optimizer).from_config(optimizer.get_config())
    point = tf.Variable(np.asarray(start, np.float32))

    @functools.partial(tf.function, autograph=False)
    def gradient() -> Any:
        with tf.GradientTape() as tape:
            loss = loss_fn(point[0], point[1])
        return tf.convert_to_tensor(tape.gradient(loss, point))

    points = [point.numpy()]
    for _ in range(steps):
        optimizer.apply_gradients([(gradient(), point)])
        points.append(point.numpy())
    return np.stack(points)


def plot_trajectories(
    optimizers: Mapping[str, Any] | Iterable[Any],
    loss_fn: Callable[[Any, Any], Any],
    start: Any,
    *,
    steps: int = 100,
    bounds: tuple[float, float, float, float] | None = None,
    ax: Any = None,
) -> Any:
    """Draws the paths of optimizers on the contours of a loss of two parameters.

    Args:
        optimizers: tfopt's or Keras', by label or in a list; they are left as they are.
        loss_fn: the loss of x and y, elementwise.
        start: where all begin, two numbers.
        steps: how many steps each makes.
        bounds: what to show, as (left, right, bottom, top); all paths by default.
        ax: the Matplotlib axes to draw in; new ones by default.

    Returns:
        The axes.

    Raises:
        ImportError: without Matplotlib.
        ValueError: if there are no optimizers.
    """
    if not isinstance(optimizers, Mapping):
        optimizers = {optimizer.name: optimizer for optimizer in list(optimizers)}
    if not optimizers:
        raise ValueError(f"`optimizers` must hold one at least; got {optimizers!r}.")
    if ax is None:
        _, ax = require("matplotlib.pyplot").pyplot.subplots(layout="constrained")
    paths = {name: trajectory(opt, loss_fn, start, steps) for name, opt in optimizers.items()}
    left, right, bottom, top = _around(paths.values()) if bounds is None else bounds
    grid = np.meshgrid(np.linspace(left, right, 200), np.linspace(bottom, top, 200))
    loss = np.array(loss_fn(*(tf.constant(axis, tf.float32) for axis in grid)))
    low = loss.min()  # levels that are close where the surface is flat
    levels = low + np.geomspace(1e-4, 1, 24) * (loss.max() - low)
    ax.contour(*grid, loss, levels, colors="0.8", linewidths=0.7)
    for name, points in paths.items():
        ax.plot(*points.T, ".-", label=name, linewidth=1.4, markersize=3)
        ax.plot(*points[-1], "o", color=ax.lines[-1].get_color(), markersize=7)
    ax.plot(*start, "k*", markersize=11)
    ax.set(xlim=(left, right), ylim=(bottom, top))
    ax.legend(frameon=False)
    return ax


def _around(paths: Iterable[Any]) -> tuple[float, float, float, float]:
    """Bounds with some room around all finite points."""
    points = np.concatenate(list(paths))
    points = points[np.isfinite(points).all(axis=1)]
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.maximum(0.15 * (high - low), 1e-3 + 0.05 * np.abs(high - low).max())
    (left, bottom), (right, top) = low - room, high + room
    return left, right, bottom, top


# --- checks ---------------------------------------------------------------------------------------


def _ours(optimizer: Any) -> Optimizer:
    """The optimizer, or the one in a loss-scale wrapper, if it is of tfopt."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if not isinstance(inner, Optimizer):
        raise TypeError(f"`optimizer` must be a tfopt.Optimizer; got {optimizer!r}.")
    return inner


def _check_at_least(name: str, value: Any, low: int) -> None:
    if not isinstance(value, int) or value < low:
        raise ValueError(f"`{name}` must be an integer >= {low}; got {value!r}.")


def require(*modules: str) -> Any:
    """The package of modules that only people's tools need."""
    package = modules[0].split(".")[0]
    try:
        for module in modules:
            importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"This needs {package}, which is not installed: pip install 'tfopt[inspect]'."
        ) from error
    return importlib.import_module(package)
