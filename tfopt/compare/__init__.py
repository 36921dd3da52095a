"""Trains one model with several optimizers, from the same seeds, and compares them.

Run it as `tfopt compare`. The digits that it trains on by default come with scikit-learn. rich
makes the table prettier and Matplotlib draws the curves, if you have them.
"""

from __future__ import annotations

from tfopt.compare.command_line import main
from tfopt.compare.contest import Run, compare
from tfopt.compare.digits_problem import digits
from tfopt.compare.html_page import page
from tfopt.compare.optimizer_text import optimizer

__all__ = ["Run", "compare", "digits", "main", "optimizer", "page"]
