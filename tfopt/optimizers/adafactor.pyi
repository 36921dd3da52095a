# Made by `python tests/stubs.py` from the declarations. Do not edit.

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from tfopt.hyper import Hyper, ScalarOrSchedule, Static
from tfopt.optimizer import Optimizer

class Adafactor(Optimizer):
    """Adafactor: adaptive learning rates with little memory, by rows and columns of a matrix."""

    learning_rate: Hyper
    """The step size alpha, at least 0, relative to the variable's RMS."""
    beta_2_decay: Hyper
    """The power gamma by which hatbeta_t approaches 1, at most 0."""
    epsilon_1: Hyper
    """The small number epsilon_1 that is added to squared gradients, at least 0."""
    epsilon_2: Hyper
    """The lower bound epsilon_2 of the variable's RMS, at least 0."""
    clip_threshold: Hyper
    """The RMS d to which u_t is clipped, above 0."""
    relative_step: Static
    """Whether 1/sqrt t bounds the step size."""
    def __init__(
        self,
        learning_rate: ScalarOrSchedule = 0.001,
        beta_2_decay: ScalarOrSchedule = -0.8,
        epsilon_1: ScalarOrSchedule = 1e-30,
        epsilon_2: ScalarOrSchedule = 0.001,
        clip_threshold: ScalarOrSchedule = 1.0,
        relative_step: bool = True,
        *,
        name: str | None = "Adafactor",
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
