# Made by `python tests/stubs.py` from the declarations. Do not edit.

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from tfopt.hyper import ScalarOrSchedule
from tfopt.optimizers.schedule_free_adamw import ScheduleFreeAdamW

class ScheduleFreeRAdam(ScheduleFreeAdamW):
    """Schedule-Free RAdam: Schedule-Free AdamW with the rectified first steps of RAdam."""

    def __init__(
        self,
        learning_rate: ScalarOrSchedule = 0.0025,
        beta_1: ScalarOrSchedule = 0.9,
        beta_2: ScalarOrSchedule = 0.999,
        epsilon: ScalarOrSchedule = 1e-08,
        r: ScalarOrSchedule = 0.0,
        weight_lr_power: ScalarOrSchedule = 2.0,
        warmup_steps: int = 0,
        *,
        name: str | None = "ScheduleFreeRAdam",
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
    def weigh(self, h: Any, state: Any) -> None:
        """Computes the weight of `z` in the average, given the learning rate of the step."""
