"""Master weights: a float32 copy of each variable of 16 bits.

A variable of 16 bits may round a small step away, but its master weight does not. A step updates
the master weight, and the variable is the master weight rounded. A codec stores both.
"""

from __future__ import annotations

from typing import Any

from tfopt._engine.engine import Engine
from tfopt._engine.policy import Policy
from tfopt._libraries import tf_variables
from tfopt._values.cells_and_codecs import MASTER, VALUE, Codec
from tfopt._values.initial_values import Kept
from tfopt.hyper import Static


class MasterWeights(Policy):
    """Stores variables of 16 bits by the codec `MASTER`."""

    master_weights = Static(False)
    kept = {MASTER.suffixes[1]: Kept()}

    @classmethod
    def check(cls, engine: Engine) -> None:
        """Raises if the optimizer is written by hooks, which see the variable alone."""
        if engine.statics["master_weights"] and engine.declared.is_hooked:
            raise ValueError(
                f"`master_weights` must be False: {type(engine.optimizer).__name__} updates "
                "variables by hooks, which see no other copy; got True."
            )

    @classmethod
    def is_used_by(cls, engine: Engine) -> bool:
        """Returns whether `master_weights` is True."""
        return bool(engine.statics["master_weights"])

    def codec(self, x: Any, name: str) -> Codec | None:
        """Returns `MASTER` for a variable that is less precise than arithmetic."""
        narrow = tf_variables.compute_dtype(x.dtype) != x.dtype
        return MASTER if name == VALUE and narrow else None
