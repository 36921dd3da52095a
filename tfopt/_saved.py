"""The names under which pickles of earlier versions look for `Saved` and `Entry`."""

from tfopt._state.snapshot import Entry, Saved

__all__ = ["Entry", "Saved"]
