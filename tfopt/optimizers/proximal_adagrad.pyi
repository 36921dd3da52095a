# Made by `python tests/stubs.py` from the declarations. Do not edit.

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from tfopt.hyper import Hyper, ScalarOrSchedule, Static
from tfopt.optimizer import Optimizer

class ProximalAdagrad(Optimizer):
    """ProximalAdagrad: Adagrad with L1 and L2 regularization, which makes weights exactly 0."""

    learning_rate: Hyper
    """The step size alpha, at least 0."""
    initial_accumulator_value: Static
    """v_0, above 0."""
    l1_regularization_strength: Hyper
    """lambda_1, at least 0."""
    l2_regularization_strength: Hyper
    """lambda_2, at least 0."""
    def __init__(
        self,
        learning_rate: ScalarOrSchedule = 0.001,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: ScalarOrSchedule = 0.0,
        l2_regularization_strength: ScalarOrSchedule = 0.0,
        *,
        name: str | None = "ProximalAdagrad",
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
