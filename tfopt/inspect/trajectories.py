"""Paths of optimizers on the loss surface of two parameters, as numbers and drawn."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt import registry
from tfopt.inspect.argument_checks import check_integer_at_least
from tfopt.inspect.optional_imports import import_optional

# A path diverges if its loss ends more than that many times as high above the lowest loss of all
# paths as it began.
DIVERGENCE = 10.0

Bounds = tuple[float, float, float, float]  # left, right, bottom, top


def trajectory(optimizer: Any, loss_fn: Callable[[Any, Any], Any], start: Any, steps: int) -> Any:
    """The points that an optimizer visits on the loss surface of two parameters.

    Args:
        optimizer: one of tfopt's or Keras', or a name such as "adam". It stays as it is: a new one
            made from its config takes the steps.
        loss_fn: the loss, a function of the scalars x and y.
        start: the first point, two numbers.
        steps: how many steps the optimizer takes, at least 0.

    Returns:
        An array of steps + 1 points.

    Raises:
        ValueError: if `start` is not two numbers, `steps` is less than 0, or `optimizer` is
            neither an optimizer nor the name of one.

    >>> tfopt.inspect.trajectory(tfopt.SGD(0.25), lambda x, y: x**2 + y**2, (2, 4), 2)
    array([[2. , 4. ],
           [1. , 2. ],
           [0.5, 1. ]], dtype=float32)
    """
    check_integer_at_least("steps", steps, 0)
    if np.shape(start) != (2,):
        raise ValueError(f"`start` must be two numbers; got {start!r}.")
    optimizer = registry.get(optimizer)
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
    optimizers: Any,
    loss_fn: Callable[[Any, Any], Any],
    start: Any,
    *,
    steps: int = 100,
    bounds: Bounds | None = None,
    ax: Any = None,
) -> Any:
    """Draws the trajectories of optimizers on the contours of a loss of two parameters.

    A path that diverges is drawn until it leaves the picture, and marked "(diverges)" in the
    legend: its last loss is not finite, or more than ten times as high as its first one, both
    measured from the lowest loss of all paths.

    Args:
        optimizers: tfopt's or Keras', or names such as "adam": a dict {label: optimizer}, a list,
            or one alone. In a list, optimizers of one name are labelled with what differs in their
            configs. They stay as they are.
        loss_fn: the loss, an elementwise function of x and y.
        start: the first point of every optimizer, two numbers.
        steps: how many steps each optimizer takes.
        bounds: the part of the surface to show, as (left, right, bottom, top); by default the
            part that all trajectories cross, without what is far off on those that diverge.
        ax: the Matplotlib axes to draw in; new ones by default.

    Returns:
        The axes.

    Raises:
        ImportError: without Matplotlib.
        ValueError: if there are no optimizers, or one is neither an optimizer nor a name of one.
    """
    labelled = _labelled(optimizers)
    if ax is None:
        _, ax = import_optional("matplotlib.pyplot").pyplot.subplots(layout="constrained")
    paths = {name: trajectory(opt, loss_fn, start, steps) for name, opt in labelled.items()}
    losses = {name: _losses(loss_fn, *path.T) for name, path in paths.items()}
    limit = _limit(losses)
    diverging = {name for name, loss in losses.items() if not loss[-1] <= limit}
    if bounds is None:
        shown = [
            path[: _first(losses[name] > limit)] if name in diverging else path
            for name, path in paths.items()
        ]
        bounds = _bounds_with_margin(shown, np.asarray(start, float))
    _draw_contours(ax, loss_fn, bounds)
    for name, points in paths.items():
        diverges = name in diverging
        points = _until_it_leaves(points, bounds) if diverges else points
        label = f"{name} (diverges)" if diverges else name
        ax.plot(*points.T, ".-", label=label, linewidth=1.4, markersize=3)
        if not diverges:
            ax.plot(*points[-1], "o", color=ax.lines[-1].get_color(), markersize=7)
    ax.plot(*start, "k*", markersize=11)
    left, right, bottom, top = bounds
    ax.set(xlim=(left, right), ylim=(bottom, top))
    ax.legend(frameon=False)
    return ax


def _labelled(given: Any) -> dict[str, Any]:
    """Returns optimizers by label, however they were given."""
    if isinstance(given, Mapping):
        found = {str(label): registry.get(optimizer) for label, optimizer in given.items()}
    else:
        several = isinstance(given, Iterable) and not isinstance(given, str)
        listed = [registry.get(optimizer) for optimizer in (list(given) if several else [given])]
        found = dict(zip(_labels(listed), listed, strict=True))
    if not found:
        raise ValueError(f"`optimizers` must hold one at least; got {given!r}.")
    return found


def _labels(optimizers: Sequence[Any]) -> list[str]:
    """Returns a label for each optimizer: its name, and what differs from others of that name."""
    labels: list[str] = []
    for optimizer in optimizers:
        config = optimizer.get_config()
        others = [o.get_config() for o in optimizers if o.name == optimizer.name]
        differing = [
            name for name, value in config.items() if any(o.get(name) != value for o in others)
        ]
        label = ", ".join([optimizer.name, *(f"{name}={config[name]}" for name in differing)])
        repeated = sum(each == label or each.startswith(f"{label} (") for each in labels)
        labels.append(f"{label} ({repeated + 1})" if repeated else label)
    return labels


def _losses(loss_fn: Callable[[Any, Any], Any], x: Any, y: Any) -> Any:
    return np.array(loss_fn(tf.constant(x, tf.float32), tf.constant(y, tf.float32)), np.float64)


def _limit(losses: Mapping[str, Any]) -> float:
    """Returns the loss above which a path diverges."""
    finite = np.concatenate([loss[np.isfinite(loss)] for loss in losses.values()])
    if not finite.size:
        return float("inf")
    lowest, first = finite.min(), next(iter(losses.values()))[0]
    return float(lowest + DIVERGENCE * (first - lowest))


def _first(where: Any) -> int:
    """Returns the first index at which an array is true; its length if it never is."""
    return int(np.argmax(where)) if where.any() else len(where)


def _bounds_with_margin(paths: Iterable[Any], start: Any) -> Bounds:
    """Returns the bounds of all finite points and the start, with a margin."""
    points = np.concatenate([*paths, start[np.newaxis]])
    points = points[np.isfinite(points).all(axis=1)]
    low, high = points.min(axis=0), points.max(axis=0)
    if (low == high).all():  # no optimizer has moved, or the first step left the picture
        low, high = low - np.abs(start).max() - 1, high + np.abs(start).max() + 1
    margin = np.maximum(0.15 * (high - low), 1e-3 + 0.05 * np.abs(high - low).max())
    (left, bottom), (right, top) = low - margin, high + margin
    return float(left), float(right), float(bottom), float(top)


def _until_it_leaves(points: Any, bounds: Bounds) -> Any:
    """Returns a path up to the first point after the last one in the picture."""
    left, right, bottom, top = bounds
    finite = points[: _first(~np.isfinite(points).all(axis=1))]
    x, y = finite.T
    inside = (left <= x) & (x <= right) & (bottom <= y) & (y <= top)
    return finite[: len(finite) - _first(inside[::-1]) + 1]


def _draw_contours(ax: Any, loss_fn: Callable[[Any, Any], Any], bounds: Bounds) -> None:
    left, right, bottom, top = bounds
    grid = np.meshgrid(np.linspace(left, right, 200), np.linspace(bottom, top, 200))
    loss = np.ma.masked_invalid(_losses(loss_fn, *grid))
    low, high = loss.min(), loss.max()
    if high > low:  # levels that are close where the surface is flat
        levels = low + np.geomspace(1e-4, 1, 24) * (high - low)
        ax.contour(*grid, loss, levels, colors="0.8", linewidths=0.7)
