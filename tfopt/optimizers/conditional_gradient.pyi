# Made by `python tests/stubs.py` from the declarations. Do not edit.

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from tfopt.hyper import Alias, Hyper, ScalarOrSchedule, Static
from tfopt.optimizer import Optimizer

class ConditionalGradient(Optimizer):
    """ConditionalGradient, also known as Frank-Wolfe: each variable stays inside of a ball."""

    learning_rate: Hyper
    """The part alpha of the variable that is kept, in [0, 1]."""
    lambda_: Hyper
    """The radius lambda of the ball, at least 0."""
    epsilon: Hyper
    """The small number epsilon in the denominator, at least 0."""
    ord: Static
    """"fro" for the Frobenius norm, or "nuclear"."""
    lambda_value: Alias
    """Another name for `lambda_`."""
    def __init__(
        self,
        learning_rate: ScalarOrSchedule = 0.1,
        lambda_: ScalarOrSchedule = 0.01,
        epsilon: ScalarOrSchedule = 1e-07,
        ord: Literal["fro", "nuclear"] = "fro",
        *,
        name: str | None = "ConditionalGradient",
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
        lambda_value: ScalarOrSchedule = ...,
    ) -> None: ...
