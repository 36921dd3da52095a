"""The names under which pickles of the first versions look for a snapshot of the state."""

from tfopt._state.snapshot import Entry, Saved

__all__ = ["Entry", "Saved"]
