"""What keywords of other libraries are called in tfopt: the answers to names that it lacks."""

from __future__ import annotations

from collections.abc import Collection

_PASS_VARIABLES = (
    "A tfopt optimizer takes no variables in its constructor: pass them to "
    "`apply_gradients(zip(gradients, variables))` or `minimize(loss, variables)`; `compile` and "
    "`fit` pass those of the model."
)
_PASS_A_SCHEDULE = (
    "Pass the schedule as `learning_rate`, such as "
    "learning_rate=tfopt.schedules.CosineDecay(0.1, 1000)."
)
_COMPILED = "`jit_compile` says how updates are run."

# What a word means in tfopt: one keyword, or an answer in full. Of several meanings, the first one
# holds whose keyword the optimizer has. An answer in full holds if all keywords before it do.
Meaning = str | tuple[tuple[str, ...], str]
WORDS: dict[str, tuple[Meaning, ...]] = {
    # PyTorch
    "eps": ("epsilon",),
    "betas": ((("beta_1", "beta_2"), "Write betas=(a, b) as beta_1=a, beta_2=b."),),
    "alpha": ("rho",),
    "params": (((), _PASS_VARIABLES),),
    "parameters": (((), _PASS_VARIABLES),),
    "param_groups": ("groups",),
    "foreach": (((), _COMPILED),),
    "fused": (((), _COMPILED),),
    "capturable": (((), _COMPILED),),
    "maximize": (((), "Minimize the negative loss instead."),),
    "lr_scheduler": (((), _PASS_A_SCHEDULE),),
    "scheduler": (((), _PASS_A_SCHEDULE),),
    "max_norm": ("global_clipnorm",),
    "max_grad_norm": ("global_clipnorm",),
    "gradient_clip_val": ("global_clipnorm",),
    "accumulate_grad_batches": ("gradient_accumulation_steps",),
    # Optax
    "b1": ("beta_1",),
    "b2": ("beta_2",),
    "b3": ("beta_3",),
    "decay_rate": ("rho",),
    "mask": ("exclude_from_weight_decay",),
    "step_size": ("learning_rate",),
    "every_k_schedule": ("gradient_accumulation_steps",),
    "accumulator_dtype": (((), "Slots are float32 at least."),),
    # TensorFlow 1, TensorFlow Addons, OptimizerV2
    "var_list": (((), _PASS_VARIABLES),),
    "variables": (((), _PASS_VARIABLES),),
    "use_locking": (((), "It has no effect in TensorFlow 2: leave it out."),),
    "use_nesterov": ("nesterov",),
    "average_decay": ("ema_momentum",),
    # What people write
    "momentum": (
        (("beta_1",), "`beta_1` is the part of its first moment that is kept."),
        ((), "It has no momentum."),
    ),
    "beta_1": ("momentum",),
    "wd": ("weight_decay",),
    "l2": ("weight_decay",),
    "lr_schedule": (((), _PASS_A_SCHEDULE),),
    "learning_rate_schedule": (((), _PASS_A_SCHEDULE),),
    "schedule": (((), _PASS_A_SCHEDULE),),
    "grad_clip": ("global_clipnorm",),
    "clip_grad": ("global_clipnorm",),
    "gradient_clip": ("global_clipnorm",),
    "gradient_clipping": ("global_clipnorm",),
    "accumulation_steps": ("gradient_accumulation_steps",),
    "ema": ("use_ema",),
    "ema_decay": ("ema_momentum",),
    "no_decay": ("exclude_from_weight_decay",),
    "loss_scale": ("loss_scale_factor",),
}
VARIABLES = _PASS_VARIABLES


def renamed(word: str, known: Collection[str]) -> str:
    """Returns the one keyword that a word of another library means; empty if there is none."""
    meanings = WORDS.get(word.lower(), ())
    return next((each for each in meanings if isinstance(each, str) and each in known), "")


def answer(word: str, known: Collection[str]) -> str:
    """Returns a sentence for a word of another library; empty if there is none.

    Args:
        word: what somebody has written.
        known: the keywords of the optimizer.
    """
    for meaning in WORDS.get(word.lower(), ()):
        if isinstance(meaning, str):
            if meaning in known:
                return f"Did you mean `{meaning}`?"
        elif all(name in known for name in meaning[0]):
            return meaning[1]
    return ""
