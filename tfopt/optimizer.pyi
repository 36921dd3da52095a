# Made by `python tests/stubs.py` from the declarations. Do not edit.

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

from tfopt._declarations.constructor import Configurable
from tfopt._declarations.formula import Formula
from tfopt._engine.engine import Engine
from tfopt._engine.policy import Policy
from tfopt._engine.update_paths import Path
from tfopt._keras.optimizer import KerasOptimizer
from tfopt._policies.groups import GroupList
from tfopt._state.public_methods import StateMethods
from tfopt.hyper import Alias, Hyper, ScalarOrSchedule, Static

class Optimizer(Formula, Configurable, StateMethods, KerasOptimizer):
    """Base class of all optimizers, for Keras 3, tf-keras and training loops of your own."""

    learning_rate: Hyper
    """The learning rate, for a class that does not declare it but calls `_set_hyper`."""
    lr: Alias
    """Another name for `learning_rate`."""
    lazy: Static
    """What happens to rows that are not in the batch, for `IndexedSlices` gradients."""
    jit_compile: Static
    """"auto" uses a fused kernel if there is one, or else a function compiled by XLA that
    variables of one shape share.
    """
    shard_slots: Static
    """The name of a dimension of a DTensor mesh."""
    loss_scale_factor: Hyper
    """The number by which the loss was multiplied (see `scale_loss`); above 0."""
    gradient_accumulation_steps: Static
    """How many calls make one step, with the mean of their gradients; at least 1."""
    gradient_aggregator: Static
    """A function from (gradient, variable) pairs to such pairs, which is called in place of the
    sum over replicas.
    """
    all_reduce_dtype: Static
    """"bfloat16" or "float16": dense gradients are rounded to it and summed over replicas in it,
    which halves the bytes between devices.
    """
    skip_nonfinite: Static
    """Whether to skip a step, with nothing changed, if a gradient has an infinity or NaN after
    the sum over replicas.
    """
    clipnorm: Hyper
    """Each gradient is scaled down so that its Euclidean norm is at most this; at least 0."""
    clipvalue: Hyper
    """Each number of a gradient is clipped to [-clipvalue, clipvalue]; at least 0."""
    global_clipnorm: Hyper
    """All gradients are scaled down by one factor, so that their joint norm is at most this; not
    together with `clipnorm`.
    """
    gradient_transformers: Static
    """Functions from such pairs to such pairs, which are called in turn after clipping."""
    decay: Hyper
    """Inverse-time decay of the learning rate, at least 0: the learning rate is divided by 1 +
    decay * iterations.
    """
    weight_decay: Hyper
    """Decoupled weight decay: before the update, x becomes x - learning_rate * weight_decay * x."""
    cautious: Static
    """Whether only those weights move whose step and gradient agree in sign."""
    cautious_weight_decay: Static
    """Whether only those weights decay that the step does not move away from 0."""
    use_ema: Static
    """Whether to keep an exponential moving average (EMA) of each variable."""
    ema_momentum: Static
    """Between 0 and 1."""
    ema_dynamic_decay: Static
    """Whether step n uses at most (1 + n) / (10 + n) as momentum, so that the first values are
    soon forgotten.
    """
    ema_start_step: Static
    """Until this step, at least 0, an average is the variable itself."""
    ema_overwrite_frequency: Static
    """After how many steps the averages replace the values of the variables, again and again;
    None for never.
    """
    master_weights: Static
    """Whether to keep variables of float16 and bfloat16 in float32 as well, so that small steps
    add up.
    """
    def __init__(
        self,
        *args: Any,
        name: str | None = "Optimizer",
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
        **kwargs: Any,
    ) -> None: ...
    def __init_subclass__(
        cls,
        policies: Sequence[type[Policy]] = (),
        paths: Sequence[type[Path]] = (),
        engine: type[Engine] | None = None,
        uncalled: Mapping[str, str] | None = None,
        reserved: Collection[str] = (),
        tracks_attributes: bool = True,
        shared: bool = False,
        **kwargs: Any,
    ) -> None: ...
    def apply_gradients(
        self,
        grads_and_vars: Iterable[tuple[Any, Any]],
        name: str | None = None,
        experimental_aggregate_gradients: bool = True,
        *,
        skip_gradients_aggregation: bool = False,
    ) -> Any:
        """Makes one step: applies gradients to variables."""
    def resource_apply_dense(self, grad: Any, var: Any) -> Any:
        """Updates one variable with a dense gradient."""
    def resource_apply_sparse(self, grad: Any, var: Any, indices: Any) -> Any:
        """Updates one variable with a gradient for some of its rows."""
    def scale_loss(self, loss: Any) -> Any:
        """Multiplies the loss by `loss_scale_factor`, if there is one."""
    def flush(self) -> Any:
        """Makes a step with the gradients that have accumulated in a window that is not full."""
    def aggregate_gradients(self, grads_and_vars: Any) -> list[tuple[Any, Any]]:
        """Returns the pairs with each gradient summed over replicas."""
    @property
    def skipped_steps(self) -> Any:
        """How many steps `skip_nonfinite` skipped: an int64 variable, or 0 without it."""
    @property
    def groups(self) -> GroupList:
        """The groups that the constructor was given, in order; each is a mapping of its numbers."""
    def exclude_from_weight_decay(self, var_list: Any = None, var_names: Any = None) -> None:
        """Excludes variables from weight decay."""
    def evaluation_weights(
        self,
        var_list: Iterable[Any] | None = None,
    ) -> AbstractContextManager[None]:
        """Gives variables their evaluation weights inside a `with` block: to evaluate or to
        export.
        """
    def averaged_weights(self, var_list: Iterable[Any] | None = None) -> Any:
        """Another name for `evaluation_weights`."""
    def finalize_variable_values(self, var_list: Iterable[Any]) -> None:
        """Gives variables their evaluation weights, permanently."""
