"""What an optimizer is doing, for people: a table, figures of its steps, paths, learning rates.

Training code imports nothing from here. The packages that draw (rich, Matplotlib, TensorBoard)
are imported only when they are used: `pip install 'tfopt[inspect]'` installs them.
"""

from __future__ import annotations

from tfopt.inspect.copies import Difference, replicas
from tfopt.inspect.learning_rate_range import LearningRateRange, lr_range
from tfopt.inspect.table import Row, describe, summary
from tfopt.inspect.tensorboard import TensorBoard
from tfopt.inspect.trajectories import plot_trajectories, trajectory
from tfopt.inspect.watch import Watch

__all__ = [
    "Difference",
    "LearningRateRange",
    "Row",
    "TensorBoard",
    "Watch",
    "describe",
    "lr_range",
    "plot_trajectories",
    "replicas",
    "summary",
    "trajectory",
]
