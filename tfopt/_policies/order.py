"""The policies of all optimizers, in the order in which they act in a step."""

from __future__ import annotations

from tfopt._engine.policy import Policy
from tfopt._policies.all_reduce_dtype import AllReduceDtype
from tfopt._policies.cautious import CautiousUpdates, CautiousWeightDecay
from tfopt._policies.clipping import Clipping
from tfopt._policies.constraints import Constraints
from tfopt._policies.evaluation_weights import EvaluationWeights
from tfopt._policies.exponential_moving_average import Averages
from tfopt._policies.fixed_loss_scale import Unscaling
from tfopt._policies.gradient_accumulation import Accumulation
from tfopt._policies.gradient_transformers import Aggregator, Transformers
from tfopt._policies.groups import Groups
from tfopt._policies.learning_rate_decay import InverseTimeDecay
from tfopt._policies.master_weights import MasterWeights
from tfopt._policies.roles import Roles
from tfopt._policies.skip_nonfinite import SkipNonfinite
from tfopt._policies.weight_decay import WeightDecay

# Their slots are in the opposite order: the policy that acts last is the first in `weights`.
ORDER: tuple[type[Policy], ...] = (
    Unscaling,
    Accumulation,
    Aggregator,
    AllReduceDtype,
    SkipNonfinite,
    Clipping,
    Transformers,
    Roles,
    Groups,
    InverseTimeDecay,
    WeightDecay,
    CautiousUpdates,
    CautiousWeightDecay,
    Constraints,
    Averages,
    EvaluationWeights,
    MasterWeights,
)
