"""The state of an optimizer: its variables, and all ways to save and load them."""

import sys

from tfopt._state import snapshot
from tfopt._state.copies import unpickle as _unpickle

__all__ = ["_unpickle"]  # the name in pickles of the first versions

# The module in which those pickles look for the classes of a snapshot.
sys.modules["tfopt._saved"] = snapshot
