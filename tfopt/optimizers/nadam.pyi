# Made by `python tests/stubs.py` from the declarations. Do not edit.

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from tfopt.hyper import Alias, Hyper, ScalarOrSchedule
from tfopt.optimizer import Optimizer

class Nadam(Optimizer):
    """Nadam: Adam with Nesterov momentum, which follows a schedule."""

    learning_rate: Hyper
    """The step size alpha, at least 0."""
    beta_1: Hyper
    """The decay rate beta_1 of the first moment, in [0, 1)."""
    beta_2: Hyper
    """The decay rate beta_2 of the second moment, in [0, 1)."""
    epsilon: Hyper
    """The small number epsilon in the denominator, at least 0."""
    schedule_decay: Hyper
    """How fast the momentum's schedule rises, psi, at least 0."""
    decay: Alias
    """Inverse-time decay of the learning rate, at least 0: the learning rate is divided by 1 +
    decay * iterations.
    """
    def __init__(
        self,
        learning_rate: ScalarOrSchedule = 0.001,
        beta_1: ScalarOrSchedule = 0.9,
        beta_2: ScalarOrSchedule = 0.999,
        epsilon: ScalarOrSchedule = 1e-07,
        schedule_decay: ScalarOrSchedule = 0.004,
        *,
        name: str | None = "Nadam",
        all_reduce_dtype: Literal["bfloat16", "float16"] | None = None,
        cautious: bool = False,
        cautious_weight_decay: bool = False,
        clipnorm: ScalarOrSchedule | None = None,
        clipvalue: ScalarOrSchedule | None = None,
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
        decay: ScalarOrSchedule = ...,
    ) -> None: ...
