"""How far a comparison is: a bar if rich is installed and there is a terminal, else lines."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from tfopt.compare.contest import Run

try:
    import rich.console
    import rich.progress

    HAS_RICH = True
except ImportError:
    HAS_RICH = False


def progress(total: int, finished: int, epochs: int) -> PlainProgress:
    """Returns what shows the progress of `total` runs, of which some are finished already."""
    if HAS_RICH and sys.stdout.isatty():
        return RichProgress(total, finished, epochs)
    return PlainProgress(total, finished, epochs)


class PlainProgress:
    """Prints a line for each finished run, with an estimate of the time that is left."""

    def __init__(self, total: int, finished: int, epochs: int):
        self.total, self.finished, self.epochs = total, finished, epochs
        self._trained = 0
        self._began = self._run_began = time.monotonic()

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        pass

    def batch(self, run: Run, batches: int, loss: float) -> None:
        """Takes note of a batch: how many there are in all, 0 if unknown, and the loss."""

    def done(self, run: Run) -> None:
        """Takes note of a finished run."""
        now = time.monotonic()
        self.finished, self._trained = self.finished + 1, self._trained + 1
        left = (self.total - self.finished) * (now - self._began) / self._trained
        text = f"[{self.finished}/{self.total}] {run.label}, seed {run.seed}: loss {run.loss:.4g}"
        text += f", {duration(now - self._run_began)}"
        if self.finished < self.total:
            text += f"; about {duration(left)} left"
        self._run_began = now
        print(text, flush=True)


class RichProgress(PlainProgress):
    """Shows one bar for all runs, which advances with each batch, and the time that is left."""

    def __init__(self, total: int, finished: int, epochs: int):
        super().__init__(total, finished, epochs)
        self._bar = rich.progress.Progress(
            rich.progress.TextColumn("{task.fields[run]}", markup=False),
            rich.progress.BarColumn(),
            rich.progress.TextColumn("{task.fields[count]}"),
            rich.progress.TextColumn("{task.fields[loss]}"),
            rich.progress.TimeElapsedColumn(),
            rich.progress.TextColumn("left"),
            rich.progress.TimeRemainingColumn(),
            speed_estimate_period=600,  # a run of another optimizer may be slower
        )
        self._task = self._bar.add_task(
            "", total=total, completed=finished, run="starting", count="", loss=""
        )

    def __enter__(self) -> PlainProgress:
        self._bar.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.stop()

    def batch(self, run: Run, batches: int, loss: float) -> None:
        """Moves the bar. Without the number of batches it waits for the end of the first epoch."""
        batches = batches or run.epoch * self.epochs * (run.epoch > 1)
        self._bar.update(
            self._task,
            completed=self.finished + (min(1.0, len(run.losses) / batches) if batches else 0.0),
            run=f"{run.label}, seed {run.seed}",
            count=f"{self.finished + 1}/{self.total}",
            loss=f"loss {loss:.4g}",
        )

    def done(self, run: Run) -> None:
        """Moves the bar to the end of the run."""
        self.finished += 1
        self._bar.update(self._task, completed=self.finished)


def duration(seconds: float) -> str:
    """Returns a time as a person says it: 40 s, 5 min, 2 h 5 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
