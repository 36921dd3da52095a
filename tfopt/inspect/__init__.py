"""What an optimizer is doing, for people: tables, figures of its steps, paths, learning rates.

Training code imports nothing from here. Packages that draw are imported only when they are used:
Matplotlib by the functions that plot, TensorBoard by `Watch` with a `log_dir`. `summary` uses the
styles of rich where it is installed. `pip install matplotlib tensorboard rich` installs them.
"""

from __future__ import annotations

from tfopt.inspect.copies import Difference, replicas
from tfopt.inspect.learning_rate_range import LearningRateRange, lr_range
from tfopt.inspect.printed_table import summary
from tfopt.inspect.schedule_curves import plot_schedule
from tfopt.inspect.table import Row, describe
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
    "plot_schedule",
    "plot_trajectories",
    "replicas",
    "summary",
    "trajectory",
]
