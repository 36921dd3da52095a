"""The curves of learning rate schedules."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt.inspect.argument_checks import check_integer_at_least
from tfopt.inspect.optional_imports import import_optional

POINTS = 500  # of a curve, at most
TITLE_WIDTH = 64  # characters of a line


def plot_schedule(schedule: Any, steps: int, *, ax: Any = None) -> Any:
    """Draws the learning rate of one or several schedules at each step.

    Args:
        schedule: a schedule of tfopt, Keras 3 or tf-keras, or a function of the step; or a dict
            {label: schedule}. The title says which schedule it is; for a dict the legend does.
        steps: how many steps to show, at least 2. Of more than 500 steps it draws 500.
        ax: the Matplotlib axes to draw in; new ones by default.

    Returns:
        The axes.

    Raises:
        TypeError: if `schedule` is none of these.
        ValueError: if there is no schedule, or `steps` is less than 2.
        ImportError: without Matplotlib.

    >>> schedule = tfopt.schedules.CosineDecay(0.1, decay_steps=90)
    >>> axes = tfopt.inspect.plot_schedule(schedule, 100)
    >>> axes.get_xlabel(), axes.get_ylabel()
    ('step', 'learning rate')
    """
    check_integer_at_least("steps", steps, 2)
    is_dict = isinstance(schedule, Mapping)
    labelled = dict(schedule) if is_dict else {_description(schedule): schedule}
    if not labelled:
        raise ValueError(f"`schedule` must hold one at least; got {schedule!r}.")
    for each in labelled.values():
        if not callable(each) or isinstance(each, type):
            raise TypeError(
                "`schedule` must be a schedule, a function of the step, or a dict of them by "
                f"label; got {each!r}."
            )
    if ax is None:
        _, ax = import_optional("matplotlib.pyplot").pyplot.subplots(layout="constrained")
    numbers = np.unique(np.linspace(0, steps - 1, min(steps, POINTS)).astype(np.int64))
    for label, each in labelled.items():
        rates = [float(tf.convert_to_tensor(each(tf.constant(number)))) for number in numbers]
        ax.plot(numbers, rates, label=label)
    ax.set(xlabel="step", ylabel="learning rate")
    ax.set_ylim(bottom=min(0, ax.get_ylim()[0]))
    if is_dict:
        ax.legend(frameon=False)
    else:
        title = textwrap.fill(next(iter(labelled)), TITLE_WIDTH, subsequent_indent="  ")
        ax.set_title(title, fontsize="medium", loc="left")
    return ax


def _description(schedule: Any) -> str:
    """Returns the class and the arguments of a schedule, or the name of a function."""
    if not hasattr(schedule, "get_config"):
        return str(getattr(schedule, "__name__", type(schedule).__name__))
    config = schedule.get_config()
    given = {name: value for name, value in config.items() if value is not None and name != "name"}
    texts = {
        name: value["class_name"] if isinstance(value, Mapping) and "class_name" in value else value
        for name, value in given.items()
    }
    arguments = ", ".join(f"{name}={text}" for name, text in texts.items())
    return f"{type(schedule).__name__}({arguments})"
