# Made by `python tests/stubs.py` from the declarations. Do not edit.

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from tfopt.hyper import Hyper, ScalarOrSchedule, Static
from tfopt.optimizer import Optimizer

class LARS(Optimizer):
    """LARS: layer-wise adaptive rate scaling, SGD with momentum for very large batches."""

    learning_rate: Hyper
    """The step size alpha, at least 0."""
    momentum: Hyper
    """The part mu of the last step that is kept, in [0, 1)."""
    trust_coefficient: Hyper
    """eta, above 0."""
    epsilon: Hyper
    """The small number epsilon in the denominator, at least 0."""
    nesterov: Static
    """Whether to use Nesterov momentum."""
    def __init__(
        self,
        learning_rate: ScalarOrSchedule = 0.01,
        momentum: ScalarOrSchedule = 0.9,
        trust_coefficient: ScalarOrSchedule = 0.001,
        epsilon: ScalarOrSchedule = 0.0,
        nesterov: bool = False,
        *,
        name: str | None = "LARS",
        all_reduce_dtype: Literal["bfloat16", "float16"] | None = None,
        cautious: bool = False,
        cautious_weight_decay: bool = False,
        clipnorm: ScalarOrSchedule | None = None,
        clipvalue: ScalarOrSchedule | None = None,
        decay: ScalarOrSchedule = 0.0,
        ema_dynamic_decay: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        ema_start_step: float = 0,
        global_clipnorm: ScalarOrSchedule | None = None,
        gradient_accumulation_steps: int | None = None,
        gradient_aggregator: Callable[..., Any] | None = None,
        gradient_transformers: Sequence[Callable[..., Any]] | None = None,
        jit_compile: Literal["auto"] | bool = "auto",
        lazy: bool | None = None,
        loss_scale_factor: ScalarOrSchedule | None = None,
        master_weights: bool = False,
        shard_slots: str | None = None,
        skip_nonfinite: bool = False,
        use_ema: bool = False,
        weight_decay: ScalarOrSchedule | None = None,
        roles: Mapping[Any, str] | Sequence[Any] | None = None,
        groups: Mapping[Any, Mapping[str, Any]] | Sequence[Any] | None = None,
        exclude_from_weight_decay: Any = None,
        lr: ScalarOrSchedule = ...,
    ) -> None: ...
