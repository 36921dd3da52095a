# Made by `python tests/stubs.py` from the declarations. Do not edit.

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from tfopt.hyper import Hyper, ScalarOrSchedule
from tfopt.optimizers.adam import Adam

class AdamW(Adam):
    """AdamW: Adam with decoupled weight decay."""

    weight_decay: Hyper
    """The decay rate lambda, multiplied by the learning rate; at least 0."""
    def __init__(
        self,
        learning_rate: ScalarOrSchedule = 0.001,
        weight_decay: ScalarOrSchedule | None = 0.004,
        beta_1: ScalarOrSchedule = 0.9,
        beta_2: ScalarOrSchedule = 0.999,
        epsilon: ScalarOrSchedule = 1e-07,
        amsgrad: bool = False,
        *,
        name: str | None = "AdamW",
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
        roles: Mapping[Any, str] | Sequence[Any] | None = None,
        groups: Mapping[Any, Mapping[str, Any]] | Sequence[Any] | None = None,
        exclude_from_weight_decay: Any = None,
        lr: ScalarOrSchedule = ...,
    ) -> None: ...
