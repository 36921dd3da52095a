"""Master weights: variables of 16 bits are kept in float32 as well.

A 16-bit variable may round a small step away. Its master weight does not: it is what is updated,
and the variable is what it rounds to. All of it is how the variable is stored.
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
    """Stores variables by the codec `MASTER`."""

    master_weights = Static(False)
    kept = {MASTER.suffixes[1]: Kept()}

    @classmethod
    def check(cls, engine: Engine) -> None:
        """Not beside hooks, which see the variable alone."""
        if engine.statics["master_weights"] and engine.declared.is_hooked:
            raise ValueError(
                f"`master_weights` must be False: {type(engine.optimizer).__name__} updates "
                "variables by hooks, which see no other copy; got True."
            )

    @classmethod
    def is_used_by(cls, engine: Engine) -> bool:
        """With `master_weights`."""
        return bool(engine.statics["master_weights"])

    def codec(self, x: Any, name: str) -> Codec | None:
        """That codec, for a variable of less precision than arithmetic has."""
        narrow = tf_variables.compute_dtype(x.dtype) != x.dtype
        return MASTER if name == VALUE and narrow else None
