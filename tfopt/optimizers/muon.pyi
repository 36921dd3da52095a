# Made by `python tests/stubs.py` from the declarations. Do not edit.

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from tfopt.hyper import Hyper, ScalarOrSchedule, Static
from tfopt.optimizer import Optimizer

class Muon(Optimizer):
    """Muon: momentum, orthogonalized by Newton-Schulz iterations."""

    learning_rate: Hyper
    """The step size alpha, at least 0."""
    adam_beta_1: Hyper
    """The decay rate of AdamW's first moment, in [0, 1)."""
    adam_beta_2: Hyper
    """The decay rate of AdamW's second moment, in [0, 1)."""
    adam_weight_decay: Hyper
    """lambda of what AdamW trains, at least 0; None for that of all."""
    epsilon: Hyper
    """The small number in AdamW's denominator, at least 0."""
    weight_decay: Hyper
    """The decay rate lambda, multiplied by the learning rate; at least 0."""
    exclude_layers: Static
    """Regular expressions that are searched for in variables' paths; what they find has the role
    `adamw`.
    """
    exclude_embeddings: Static
    """Whether variables with "embedding" in their path have the role `adamw`."""
    muon_a: Static
    """The coefficient a of the iteration."""
    muon_b: Static
    """The coefficient b."""
    muon_c: Static
    """The coefficient c."""
    adam_lr_ratio: Hyper
    """AdamW's learning rate as a part of alpha, at least 0."""
    momentum: Hyper
    """The part mu of the momentum that is kept, in [0, 1)."""
    ns_steps: Static
    """How many iterations, at least 1."""
    nesterov: Static
    """Whether to use Nesterov momentum."""
    rms_rate: Hyper
    """The size rho of a step, at least 0; None for the original factor."""
    polar_express: Static
    """Whether to iterate with the coefficients of Polar Express, which come closer to an
    orthogonal matrix.
    """
    normuon_beta: Hyper
    """The decay rate of NorMuon, in [0, 1): each output's part of a step is divided by the root
    of its mean square, averaged over steps; the norm of the step stays.
    """
    def __init__(
        self,
        learning_rate: ScalarOrSchedule = 0.001,
        adam_beta_1: ScalarOrSchedule = 0.9,
        adam_beta_2: ScalarOrSchedule = 0.999,
        adam_weight_decay: ScalarOrSchedule | None = None,
        epsilon: ScalarOrSchedule = 1e-07,
        weight_decay: ScalarOrSchedule | None = 0.004,
        exclude_layers: Sequence[str] | None = None,
        muon_a: float = 3.4445,
        muon_b: float = -4.775,
        muon_c: float = 2.0315,
        adam_lr_ratio: ScalarOrSchedule = 1.0,
        momentum: ScalarOrSchedule = 0.95,
        ns_steps: int = 5,
        nesterov: bool = True,
        rms_rate: ScalarOrSchedule | None = 0.2,
        polar_express: bool = False,
        normuon_beta: ScalarOrSchedule | None = None,
        *,
        name: str | None = "Muon",
        exclude_embeddings: bool = True,
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
