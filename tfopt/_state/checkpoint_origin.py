"""Which optimizer has written a checkpoint, as far as the names of its variables tell."""

from __future__ import annotations

from typing import Any

from tfopt._libraries import keras as keras_libraries
from tfopt._libraries import tensorflow_private
from tfopt._libraries.warnings import warn


class Origin:
    """What is known of the optimizer whose checkpoint is restored into this one.

    The name of a saved variable begins with that of its optimizer, which is that of the class
    unless it was given another one. Nothing is known of an optimizer with a name of its own.

    Args:
        owner: the optimizer that is restored.
    """

    def __init__(self, owner: Any):
        self._owner = owner
        self.is_another = False  # whether a checkpoint of another class was restored

    def note_awaited(self, name: str) -> None:
        """Looks at a variable that a checkpoint has, and that is about to be created."""
        for position in tensorflow_private.awaited(self._owner, name):
            self.note(position)

    def note(self, position: Any) -> None:
        """Warns, once, if a variable in a checkpoint was saved by another class of tfopt."""
        if self.is_another:
            return
        cls, written = type(self._owner), tensorflow_private.saved_name(position).split("/")[0]
        if written in (cls.__name__, self._owner.name):
            return
        known = keras_libraries.registered(f"tfopt>{written}")
        if not known or issubclass(cls, known[0]) or issubclass(known[0], cls):
            return
        self.is_another = True
        warn(
            f"The checkpoint was saved by {written} and is restored into {cls.__name__}, which is "
            "another optimizer: slots and hyperparameters of the same names get its values, and "
            f"all others begin afresh. Restore it into tfopt.{written} to go on as before."
        )
