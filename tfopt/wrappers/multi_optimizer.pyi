# Made by `python tests/stubs.py` from the declarations. Do not edit.

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from tfopt.hyper import Hyper, ScalarOrSchedule
from tfopt.optimizer import Optimizer

class MultiOptimizer(Optimizer):
    """Different optimizers for parts of a model, as one optimizer."""

    learning_rate: Hyper
    """The learning rates of all parts are multiplied by it; at least 0."""
    def __init__(
        self,
        optimizers: Any = None,
        default_optimizer: Optimizer | str | Mapping[str, Any] | None = None,
        learning_rate: ScalarOrSchedule = 1.0,
        *,
        name: str | None = "MultiOptimizer",
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
    @property
    def optimizers(self) -> list[Optimizer]:
        """The optimizers of the parts, the default one last."""

class OptimizerMap:
    """Which optimizer for which variables, as Keras 3 has it: for `tfopt.MultiOptimizer`."""

    def __init__(
        self,
        default_optimizer: Any,
        optimizer_map: Mapping[str, Any] | None = None,
    ) -> None: ...
    def __call__(self, variable: Any) -> Any: ...
    def __setitem__(self, pattern: str, optimizer: Any) -> None: ...
    def __getitem__(self, pattern: str) -> Any: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[str]: ...
