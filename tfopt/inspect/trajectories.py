"""Paths of optimizers on the loss surface of two parameters, as numbers and drawn."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt.inspect.argument_checks import check_integer_at_least
from tfopt.inspect.optional_imports import import_optional


def trajectory(optimizer: Any, loss_fn: Callable[[Any, Any], Any], start: Any, steps: int) -> Any:
    """The points that an optimizer visits on the loss surface of two parameters.

    Args:
        optimizer: one of tfopt's or Keras'. It stays as it is: a new one made from its config
            takes the steps.
        loss_fn: the loss, a function of the scalars x and y.
        start: the first point, two numbers.
        steps: how many steps the optimizer takes, at least 0.

    Returns:
        An array of steps + 1 points.

    Raises:
        ValueError: if `start` is not two numbers, or `steps` is less than 0.

    >>> tfopt.inspect.trajectory(tfopt.SGD(0.25), lambda x, y: x**2 + y**2, (2, 4), 2)
    array([[2. , 4. ],
           [1. , 2. ],
           [0.5, 1. ]], dtype=float32)
    """
    check_integer_at_least("steps", steps, 0)
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
    """Draws the trajectories of optimizers on the contours of a loss of two parameters.

    Args:
        optimizers: tfopt's or Keras', by label or in a list. They stay as they are.
        loss_fn: the loss, an elementwise function of x and y.
        start: the first point of every optimizer, two numbers.
        steps: how many steps each optimizer takes.
        bounds: the part of the surface to show, as (left, right, bottom, top); by default the
            part that all trajectories cross.
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
        _, ax = import_optional("matplotlib.pyplot").pyplot.subplots(layout="constrained")
    paths = {name: trajectory(opt, loss_fn, start, steps) for name, opt in optimizers.items()}
    left, right, bottom, top = _bounds_with_margin(paths.values()) if bounds is None else bounds
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


def _bounds_with_margin(paths: Iterable[Any]) -> tuple[float, float, float, float]:
    """The bounds of all finite points, with a margin: (left, right, bottom, top)."""
    points = np.concatenate(list(paths))
    points = points[np.isfinite(points).all(axis=1)]
    low, high = points.min(axis=0), points.max(axis=0)
    margin = np.maximum(0.15 * (high - low), 1e-3 + 0.05 * np.abs(high - low).max())
    (left, bottom), (right, top) = low - margin, high + margin
    return left, right, bottom, top
