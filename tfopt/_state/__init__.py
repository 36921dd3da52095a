"""The state of an optimizer: its variables, and the ways in and out."""

import sys

from tfopt._state import snapshot
from tfopt._state.copies import unpickle as _unpickle

__all__ = ["_unpickle"]  # under which pickles of the first versions look for it

# The module in which they look for what a snapshot is made of.
sys.modules["tfopt._saved"] = snapshot
