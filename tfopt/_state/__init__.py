"""The state of an optimizer: its variables, and all ways to save and load them."""

import sys

from tfopt._state import pickle_and_deepcopy, snapshot
from tfopt._state.pickle_and_deepcopy import unpickle as _unpickle

__all__ = ["_unpickle"]  # the name in pickles of the first versions

# Modules in which pickles of earlier versions look for names.
sys.modules["tfopt._saved"] = snapshot
sys.modules["tfopt._state.copies"] = pickle_and_deepcopy
