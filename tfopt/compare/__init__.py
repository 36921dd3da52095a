"""Trains one model with several optimizers from one seed, and shows which learns how fast.

Run it as `tfopt compare`. What it draws with (rich, Matplotlib) comes with
`pip install 'tfopt[inspect]'`; the digits that it trains on by default are scikit-learn's.
"""

from __future__ import annotations

from tfopt.compare.command_line import main
from tfopt.compare.contest import Run, compare
from tfopt.compare.digits_problem import digits
from tfopt.compare.html_page import page
from tfopt.compare.optimizer_text import optimizer

__all__ = ["Run", "compare", "digits", "main", "optimizer", "page"]
