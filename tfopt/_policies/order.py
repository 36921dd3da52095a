"""The policies of all optimizers, in the order in which they act in a step."""

from __future__ import annotations

from tfopt._engine.policy import Policy
from tfopt._policies.accumulation import Accumulation
from tfopt._policies.averages import Averages
from tfopt._policies.clipping import Clipping
from tfopt._policies.constraints import Constraints
from tfopt._policies.decay import InverseTimeDecay, WeightDecay
from tfopt._policies.master_weights import MasterWeights
from tfopt._policies.nonfinite import SkipNonfinite
from tfopt._policies.transformers import Aggregator, Transformers
from tfopt._policies.unscaling import Unscaling

# Their slots are in the opposite order: the policy that acts last is the first in `weights`.
ORDER: tuple[type[Policy], ...] = (
    Unscaling,
    Accumulation,
    Aggregator,
    SkipNonfinite,
    Clipping,
    Transformers,
    InverseTimeDecay,
    WeightDecay,
    Constraints,
    Averages,
    MasterWeights,
)
