"""The state of an optimizer: its variables, and the ways in and out."""

from tfopt._state.copies import unpickle as _unpickle

__all__ = ["_unpickle"]  # under which pickles of earlier versions look for it
