"""A Keras callback that writes what `Watch` records to TensorBoard."""

from __future__ import annotations

import contextlib
from typing import Any

from tfopt._libraries.keras import CALLBACKS
from tfopt.inspect.argument_checks import check_integer_at_least
from tfopt.inspect.watch import Watch


class TensorBoard(*CALLBACKS):  # type: ignore[misc]
    """A callback for Keras 3 and tf-keras that writes the figures of `Watch` to TensorBoard.

    The figures are in `watch.figures` too. After training, `watch.health()` says which variables
    take steps that are much too large or too small; TensorBoard shows these lines as a text.

    The model's train function is traced anew when training begins, and again when it ends: so
    training without the callback costs nothing. You may interrupt a training and start it again.
    With `steps_per_execution`, a record holds the norms of the last step of an execution, and
    the update ratio of all its steps together.

    Args:
        log_dir: the folder for TensorBoard, or a `tf.summary.SummaryWriter`; with None the
            figures are only recorded.
        every: how many batches lie between two records, at least 1.
        per_variable: whether to record the update ratio of each variable too.

    Raises:
        TypeError: when training begins, if the model's optimizer is not one of tfopt's.
        ValueError: if `every` is less than 1.
        ImportError: when training begins, if `log_dir` is a path, and TensorBoard is not installed.
    """

    def __init__(self, log_dir: Any, *, every: int = 10, per_variable: bool = False):
        super().__init__()
        check_integer_at_least("every", every, 1)
        self._watch_arguments = {"log_dir": log_dir, "every": every, "per_variable": per_variable}
        self.watch: Watch | None = None
        self._batch = contextlib.ExitStack()

    def on_train_begin(self, logs: Any = None) -> None:
        """Starts to watch the model's optimizer."""
        if self.watch is not None:
            self.watch.stop()  # of a training that was interrupted
        self.watch = Watch(self.model.optimizer, **self._watch_arguments)
        self.model.make_train_function(force=True)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Enters `Watch.step`, which surrounds the batch."""
        assert self.watch is not None
        self._batch = contextlib.ExitStack()
        self._batch.enter_context(self.watch.step())

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Leaves `Watch.step`, which records every so many batches."""
        self._batch.close()

    def on_train_end(self, logs: Any = None) -> None:
        """Stops watching."""
        assert self.watch is not None
        self.watch.write_health()
        self.watch.close()
        self.model.make_train_function(force=True)
