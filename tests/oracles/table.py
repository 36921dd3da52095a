"""The traces: the call of another package, and the optimizer of tfopt that must do the same.

Numbers are exact in float32, in which tfopt keeps hyperparameters, unless the tolerance is 1e-6 or
more. The equations take the same arguments as tfopt's optimizer. So a trace is only stored if both
columns mean the same.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import packages
import tensorflow as tf

STEPS = 32
SHAPES = ((4, 4), (6, 3), (5,))
MATRICES = ((4, 4), (6, 4), (4, 5))  # fan in and fan out, as in Keras
KERNELS = ((2, 2, 3, 5), (1, 2, 2, 6))  # of convolutions, height and width first


@dataclasses.dataclass
class Trace:
    """One trace.

    Attributes:
        name: the stem of its file.
        optimizer: the class of tfopt.
        arguments: of its constructor. An inner optimizer is a dict of both.
        package: where the other optimizer is from.
        call: how it is made, an expression in which `p` is the list of torch's parameters.
        run: how it takes steps.
        tolerance: how near tfopt's weights must be, relative to their size.
        note: what differs from the package as it is, and what limits the tolerance.
        shapes: of the variables.
        zeros_at_first: whether some gradients of the first step are 0.
        patch: what to change in the package.
    """

    name: str
    optimizer: str
    arguments: dict[str, Any]
    package: str
    call: str
    run: Callable[..., Any] = packages.with_torch
    tolerance: float = 1e-12
    note: str = ""
    shapes: tuple[tuple[int, ...], ...] = SHAPES
    zeros_at_first: bool = True
    patch: Callable[[], Any] = contextlib.nullcontext


with_addons = functools.partial(packages.with_keras, variable=tf.Variable)


def of_matrices(**fields):
    """A trace of Muon, by default of matrices, with torch, and as exact as the norms allow."""
    run = functools.partial(packages.with_torch, transposed=True)
    patch = packages.float64_orthogonalization
    defaults = dict(optimizer="Muon", run=run, shapes=MATRICES, patch=patch, tolerance=1e-6)
    return Trace(**{**defaults, **fields})


IN_FLOAT64 = "The iterations are patched to run in float64 instead of bfloat16."
AVERAGE = "Its momentum is an average, not a sum, so that the 1e-7 beside the norm counts for more."
LARGER = "It takes the larger of norm and 1e-7, not their sum."
TINY = "Epsilon is tiny: the package has it at another place."
ALL_AT_FIRST = "No first gradient is 0: of each weight it is the first other one that counts here."

MUON = [
    of_matrices(
        name="muon-original",
        arguments=dict(learning_rate=2**-5, momentum=0.9375, weight_decay=0.125, rms_rate=None),
        package="KellerJordan/Muon",
        call="muon.SingleDeviceMuon(p, 2**-5, weight_decay=0.125, momentum=0.9375)",
        note=f"{IN_FLOAT64} {AVERAGE}",
    ),
    of_matrices(
        name="muon-torch-original",
        arguments=dict(learning_rate=2**-5, momentum=0.9375, weight_decay=0.125, rms_rate=None),
        package="torch",
        call="torch.optim.Muon(p, 2**-5, weight_decay=0.125, momentum=0.9375)",
        note=f"{IN_FLOAT64} {LARGER}",
    ),
    of_matrices(
        name="muon-torch-match-rms",
        arguments=dict(learning_rate=2**-5, momentum=0.9375, weight_decay=0.125, rms_rate=0.2),
        package="torch",
        call="torch.optim.Muon(p, 2**-5, weight_decay=0.125, momentum=0.9375, "
        "adjust_lr_fn='match_rms_adamw')",
        note=f"{IN_FLOAT64} {LARGER} The size of a step, 0.2, is not exact in float32.",
    ),
    of_matrices(
        name="muon-torch-heavy-ball",
        arguments=dict(
            learning_rate=2**-5,
            momentum=0.875,
            weight_decay=None,
            nesterov=False,
            ns_steps=7,
            rms_rate=None,
        ),
        package="torch",
        call="torch.optim.Muon(p, 2**-5, weight_decay=0.0, momentum=0.875, nesterov=False, "
        "ns_steps=7)",
        note=f"{IN_FLOAT64} {LARGER}",
    ),
    of_matrices(
        name="muon-keras",
        arguments=dict(
            learning_rate=2**-5,
            adam_beta_1=0.875,
            adam_beta_2=0.96875,
            adam_weight_decay=0.0625,
            epsilon=2**-10,
            weight_decay=0.125,
            adam_lr_ratio=0.5,
            momentum=0.9375,
            rms_rate=0.25,
        ),
        package="keras",
        call="keras.optimizers.Muon(2**-5, 0.875, 0.96875, 0.0625, 2**-10, 0.125, "
        "adam_lr_ratio=0.5, momentum=0.9375, rms_rate=0.25)",
        run=packages.with_keras,
        tolerance=1e-12,
        note="Vectors are trained by AdamW.",
        shapes=(*MATRICES, (5,)),
    ),
    of_matrices(
        name="muon-keras-heavy-ball",
        arguments=dict(
            learning_rate=2**-5,
            weight_decay=0.125,
            momentum=0.875,
            ns_steps=3,
            nesterov=False,
            rms_rate=0.25,
        ),
        package="keras",
        call="keras.optimizers.Muon(2**-5, weight_decay=0.125, momentum=0.875, ns_steps=3, "
        "nesterov=False, rms_rate=0.25)",
        run=packages.with_keras,
        tolerance=1e-12,
    ),
    of_matrices(
        name="muon-optax-heavy-ball",
        arguments=dict(
            learning_rate=2**-5,
            momentum=0.9375,
            weight_decay=0.125,
            nesterov=False,
            rms_rate=0.25,
        ),
        package="optax",
        call="optax.contrib.muon(2**-5, beta=0.9375, weight_decay=0.125, nesterov=False, "
        "eps=1e-7, consistent_rms=0.25)",
        run=packages.with_optax,
        note="Its momentum is corrected for bias, so that the 1e-7 beside the norm counts for "
        "more. With `nesterov` it is another formula.",
    ),
    of_matrices(
        name="muon-polar-express",
        arguments=dict(
            learning_rate=2**-5,
            momentum=0.9375,
            weight_decay=0.125,
            rms_rate=None,
            polar_express=True,
        ),
        package="timm",
        call="timm.optim.Muon(p, 2**-5, weight_decay=0.125, momentum=0.9375, nesterov=True, "
        "ns_coefficients=polar_express_coeffs, safety_factor=1.02, adjust_lr_fn='original')",
        note=f"{IN_FLOAT64} The coefficients are those of KellerJordan/modded-nanogpt at f411b3d3, "
        f"where epsilon is 1e-6. {LARGER}",
    ),
    of_matrices(
        name="muon-convolution",
        arguments=dict(learning_rate=2**-5, momentum=0.9375, weight_decay=0.125, rms_rate=None),
        package="timm",
        call="timm.optim.Muon(p, 2**-5, weight_decay=0.125, momentum=0.9375, nesterov=True, "
        "ns_coefficients='original', adjust_lr_fn='original')",
        note=f"{IN_FLOAT64} Kernels are matrices with all of a window as fan in. {LARGER}",
        shapes=KERNELS,
    ),
    of_matrices(
        name="muon-neurons",
        arguments=dict(
            learning_rate=2**-5,
            momentum=0.75,
            weight_decay=0.125,
            rms_rate=None,
            normuon_beta=0.9375,
        ),
        package="zichongli5/NorMuon",
        call="normuon.SingleDeviceNorMuon(p, 2**-5, weight_decay=0.125, momentum=0.75, "
        "beta2=0.9375)",
        note=f"{IN_FLOAT64} {AVERAGE}",
    ),
]

SCHEDULE_FREE = [
    Trace(
        "schedule-free-adamw",
        "ScheduleFreeAdamW",
        dict(learning_rate=2**-5, beta_1=0.875, beta_2=0.96875, epsilon=2**-20),
        "schedulefree",
        "schedulefree.AdamWScheduleFree(p, 2**-5, (0.875, 0.96875), 2**-20, foreach=False)",
    ),
    Trace(
        "schedule-free-adamw-warmup-decay",
        "ScheduleFreeAdamW",
        dict(
            learning_rate=2**-5,
            beta_1=0.875,
            beta_2=0.96875,
            epsilon=2**-20,
            weight_decay=0.125,
            warmup_steps=8,
        ),
        "schedulefree",
        "schedulefree.AdamWScheduleFree(p, 2**-5, (0.875, 0.96875), 2**-20, weight_decay=0.125, "
        "warmup_steps=8, foreach=False)",
    ),
    Trace(
        "schedule-free-adamw-weights",
        "ScheduleFreeAdamW",
        dict(
            learning_rate=2**-5,
            beta_1=0.75,
            beta_2=0.96875,
            epsilon=2**-10,
            warmup_steps=8,
            r=0.5,
            weight_lr_power=1.0,
        ),
        "schedulefree",
        "schedulefree.AdamWScheduleFree(p, 2**-5, (0.75, 0.96875), 2**-10, warmup_steps=8, r=0.5, "
        "weight_lr_power=1.0, foreach=False)",
    ),
    Trace(
        "schedule-free-sgd",
        "ScheduleFreeSGD",
        dict(learning_rate=2**-3, momentum=0.875),
        "schedulefree",
        "schedulefree.SGDScheduleFree(p, 2**-3, 0.875, foreach=False)",
    ),
    Trace(
        "schedule-free-sgd-warmup-decay",
        "ScheduleFreeSGD",
        dict(
            learning_rate=2**-3,
            momentum=0.75,
            weight_decay=0.125,
            warmup_steps=8,
            r=1.0,
            weight_lr_power=1.0,
        ),
        "schedulefree",
        "schedulefree.SGDScheduleFree(p, 2**-3, 0.75, 0.125, 8, 1.0, 1.0, foreach=False)",
    ),
    Trace(
        "schedule-free-radam",
        "ScheduleFreeRAdam",
        dict(learning_rate=2**-5, beta_1=0.875, beta_2=0.96875, epsilon=2**-20),
        "schedulefree",
        "schedulefree.RAdamScheduleFree(p, 2**-5, (0.875, 0.96875), 2**-20, foreach=False)",
        note="It takes no step while the variance is unknown.",
    ),
    Trace(
        "schedule-free-radam-decay",
        "ScheduleFreeRAdam",
        dict(
            learning_rate=2**-5,
            beta_1=0.875,
            beta_2=0.96875,
            epsilon=2**-10,
            weight_decay=0.125,
            r=0.5,
            weight_lr_power=1.0,
        ),
        "schedulefree",
        "schedulefree.RAdamScheduleFree(p, 2**-5, (0.875, 0.96875), 2**-10, 0.125, 0.5, 1.0, "
        "foreach=False)",
        note="It takes no step while the variance is unknown.",
    ),
]

ADAM_AND_KIN = [
    Trace(
        "adamw",
        "AdamW",
        dict(learning_rate=2**-5, beta_1=0.875, beta_2=0.96875, epsilon=2**-60, weight_decay=0.125),
        "torch",
        "torch.optim.AdamW(p, 2**-5, (0.875, 0.96875), 2**-60, 0.125)",
        note=TINY,
    ),
    Trace(
        "lion",
        "Lion",
        dict(learning_rate=2**-5, beta_1=0.875, beta_2=0.96875, weight_decay=0.125),
        "optax",
        "optax.lion(2**-5, 0.875, 0.96875, weight_decay=0.125)",
        packages.with_optax,
    ),
    Trace(
        "nadamw",
        "NAdamW",
        dict(learning_rate=2**-5, beta_1=0.875, beta_2=0.96875, epsilon=2**-10, weight_decay=0.125),
        "optax",
        "optax.nadamw(2**-5, 0.875, 0.96875, 2**-10, weight_decay=0.125)",
        packages.with_optax,
    ),
    Trace(
        "ademamix",
        "AdEMAMix",
        dict(
            learning_rate=2**-6,
            beta_1=0.875,
            beta_2=0.96875,
            beta_3=1 - 2**-7,
            alpha=5.0,
            epsilon=2**-10,
            weight_decay=0.125,
        ),
        "apple/ml-ademamix",
        "ademamix.AdEMAMix(p, 2**-6, (0.875, 0.96875, 1 - 2**-7), 5.0, eps=2**-10, "
        "weight_decay=0.125)",
    ),
    Trace(
        "ademamix-warmup",
        "AdEMAMix",
        dict(
            learning_rate=2**-6,
            beta_1=0.875,
            beta_2=0.96875,
            beta_3=1 - 2**-6,
            alpha=4.0,
            epsilon=2**-10,
            weight_decay=0.125,
            alpha_warmup_steps=16,
            beta_3_warmup_steps=24,
        ),
        "apple/ml-ademamix",
        "ademamix.AdEMAMix(p, 2**-6, (0.875, 0.96875, 1 - 2**-6), 4.0, 24, 16, 2**-10, 0.125)",
        tolerance=1e-5,
        note="It adds 1e-8 to the decay rates inside of logarithms.",
    ),
    Trace(
        "ademamix-optax",
        "AdEMAMix",
        dict(
            learning_rate=2**-6,
            beta_1=0.875,
            beta_2=0.96875,
            beta_3=1 - 2**-7,
            alpha=5.0,
            epsilon=2**-10,
            weight_decay=0.125,
        ),
        "optax",
        "optax.contrib.ademamix(2**-6, 0.875, 0.96875, 1 - 2**-7, 5.0, 2**-10, weight_decay=0.125)",
        packages.with_optax,
        note="Its schedules count steps from zero. So there is no trace of them.",
    ),
    Trace(
        "rectified-adam",
        "RectifiedAdam",
        dict(
            learning_rate=2**-5,
            beta_1=0.875,
            beta_2=0.96875,
            epsilon=2**-10,
            weight_decay=0.125,
        ),
        "tensorflow/addons",
        "tfa.optimizers.RectifiedAdam(2**-5, 0.875, 0.96875, 2**-10, 0.125)",
        with_addons,
    ),
    Trace(
        "rectified-adam-amsgrad",
        "RectifiedAdam",
        dict(
            learning_rate=2**-5,
            beta_1=0.875,
            beta_2=0.9375,
            epsilon=2**-10,
            amsgrad=True,
            sma_threshold=8.0,
        ),
        "tensorflow/addons",
        "tfa.optimizers.RectifiedAdam(2**-5, 0.875, 0.9375, 2**-10, amsgrad=True, "
        "sma_threshold=8.0)",
        with_addons,
    ),
    Trace(
        "rectified-adam-optax",
        "RectifiedAdam",
        dict(learning_rate=2**-5, beta_1=0.875, beta_2=0.96875, epsilon=2**-10),
        "optax",
        "optax.radam(2**-5, 0.875, 0.96875, 2**-10)",
        packages.with_optax,
    ),
    Trace(
        "rectified-adam-torch",
        "RectifiedAdam",
        dict(
            learning_rate=2**-5,
            beta_1=0.875,
            beta_2=0.96875,
            epsilon=2**-60,
            weight_decay=0.125,
        ),
        "torch",
        "torch.optim.RAdam(p, 2**-5, (0.875, 0.96875), 2**-60, 0.125, decoupled_weight_decay=True)",
        note=TINY,
    ),
    Trace(
        "adabelief",
        "AdaBelief",
        dict(learning_rate=2**-5, beta_1=0.875, beta_2=0.96875, epsilon=2**-20, rectify=False),
        "optax",
        "optax.adabelief(2**-5, 0.875, 0.96875, 2**-20, 2**-20)",
        packages.with_optax,
        note="Both of its epsilons are the same.",
    ),
    Trace(
        "adabelief-rectify",
        "AdaBelief",
        dict(
            learning_rate=2**-5,
            beta_1=0.875,
            beta_2=0.96875,
            epsilon=2**-20,
            weight_decay=0.125,
            rectify=True,
        ),
        "tensorflow/addons",
        "tfa.optimizers.AdaBelief(2**-5, 0.875, 0.96875, 2**-20, 0.125)",
        with_addons,
    ),
    Trace(
        "adabelief-timm",
        "AdaBelief",
        dict(
            learning_rate=2**-5,
            beta_1=0.875,
            beta_2=0.96875,
            epsilon=2**-50,
            weight_decay=0.125,
            rectify=False,
        ),
        "timm",
        "timm.optim.AdaBelief(p, 2**-5, (0.875, 0.96875), 2**-50, 0.125, rectify=False)",
        note=TINY,
    ),
    Trace(
        "adan",
        "Adan",
        dict(
            learning_rate=2**-5,
            beta_1=0.96875,
            beta_2=0.875,
            beta_3=0.9375,
            epsilon=2**-10,
            weight_decay=0.125,
        ),
        "sail-sg/Adan",
        "adan.Adan(p, 2**-5, (0.96875, 0.875, 0.9375), 2**-10, 0.125, foreach=False)",
    ),
    Trace(
        "adan-timm",
        "Adan",
        dict(
            learning_rate=2**-5,
            beta_1=0.96875,
            beta_2=0.875,
            beta_3=0.9375,
            epsilon=2**-10,
            weight_decay=0.125,
        ),
        "timm",
        "timm.optim.Adan(p, 2**-5, (0.96875, 0.875, 0.9375), 2**-10, 0.125)",
    ),
    Trace(
        "adopt",
        "ADOPT",
        dict(learning_rate=2**-5, beta_1=0.875, beta_2=0.9375, epsilon=0.5),
        "iShohei220/adopt",
        "adopt.ADOPT(p, 2**-5, (0.875, 0.9375), 0.5, decouple=True)",
        note=ALL_AT_FIRST + " Its weights do not decay in the first step, so none do here.",
        zeros_at_first=False,
    ),
    Trace(
        "adopt-optax",
        "ADOPT",
        dict(learning_rate=2**-5, beta_1=0.875, beta_2=0.9375, epsilon=2**-20),
        "optax",
        "optax.contrib.adopt(2**-5, 0.875, 0.9375, 2**-20)",
        packages.with_optax,
        note=ALL_AT_FIRST,
        zeros_at_first=False,
    ),
    Trace(
        "adopt-timm",
        "ADOPT",
        dict(learning_rate=2**-5, beta_1=0.875, beta_2=0.9375, epsilon=2**-20),
        "timm",
        "timm.optim.Adopt(p, 2**-5, (0.875, 0.9375), 2**-20, 0.25)",
        note=ALL_AT_FIRST + " Its default for the exponent of the bound is 0.333.",
        zeros_at_first=False,
    ),
    Trace(
        "adamw-cautious",
        "AdamW",
        dict(
            learning_rate=2**-5,
            beta_1=0.875,
            beta_2=0.96875,
            epsilon=2**-10,
            weight_decay=0.125,
            cautious=True,
        ),
        "kyleliang919/C-Optim",
        "c_adamw.AdamW(p, 2**-5, (0.875, 0.96875), 2**-10, 0.125)",
    ),
    Trace(
        "adamw-cautious-timm",
        "AdamW",
        dict(
            learning_rate=2**-5,
            beta_1=0.875,
            beta_2=0.96875,
            epsilon=2**-60,
            weight_decay=0.125,
            cautious=True,
        ),
        "timm",
        "timm.optim.AdamWLegacy(p, 2**-5, (0.875, 0.96875), 2**-60, 0.125, caution=True)",
        note=TINY,
    ),
    Trace(
        "lion-cautious",
        "Lion",
        dict(learning_rate=2**-5, beta_1=0.875, beta_2=0.96875, weight_decay=0.125, cautious=True),
        "timm",
        "timm.optim.Lion(p, 2**-5, (0.875, 0.96875), 0.125, caution=True)",
    ),
    Trace(
        "adamw-cautious-weight-decay",
        "AdamW",
        dict(
            learning_rate=2**-5,
            beta_1=0.875,
            beta_2=0.96875,
            epsilon=2**-60,
            weight_decay=0.5,
            cautious_weight_decay=True,
        ),
        "microsoft/dion",
        "by_function(p, 2, lambda x, g, s, t: dion.adamw_update_foreach(x, g, *s, "
        "2**-5, 0.875, 0.96875, 0.5, t, 2**-60, cautious_wd=True))",
        note=TINY,
    ),
    Trace(
        "lion-cautious-weight-decay",
        "Lion",
        dict(
            learning_rate=2**-5,
            beta_1=0.875,
            beta_2=0.96875,
            weight_decay=0.5,
            cautious_weight_decay=True,
        ),
        "microsoft/dion",
        "by_function(p, 1, lambda x, g, s, t: dion.lion_update_foreach(x, g, *s, "
        "2**-5, 0.875, 0.96875, 0.5, cautious_wd=True))",
    ),
    Trace(
        "yogi",
        "Yogi",
        dict(
            learning_rate=2**-5,
            beta_1=0.875,
            beta_2=0.96875,
            epsilon=2**-10,
            initial_accumulator_value=2**-20,
        ),
        "tensorflow/addons",
        "tfa.optimizers.Yogi(2**-5, 0.875, 0.96875, 2**-10, initial_accumulator_value=2**-20)",
        with_addons,
        note="Optax has another formula: its momentum begins at the initial value of the variance.",
    ),
]

NORMS = [
    Trace(
        "lars",
        "LARS",
        dict(learning_rate=2**-2, momentum=0.875, trust_coefficient=2**-5),
        "optax",
        "optax.lars(2**-2, trust_coefficient=2**-5, momentum=0.875, "
        "trust_ratio_mask=matrices_only)",
        packages.with_optax,
        note="With weight decay it has another ratio.",
    ),
    Trace(
        "lars-nesterov",
        "LARS",
        dict(
            learning_rate=2**-2,
            momentum=0.875,
            trust_coefficient=2**-5,
            epsilon=2**-3,
            nesterov=True,
        ),
        "optax",
        "optax.lars(2**-2, trust_coefficient=2**-5, eps=2**-3, momentum=0.875, nesterov=True, "
        "trust_ratio_mask=matrices_only)",
        packages.with_optax,
        note="With weight decay it has another ratio.",
    ),
    Trace(
        "lars-timm",
        "LARS",
        dict(
            learning_rate=2**-2,
            momentum=0.875,
            trust_coefficient=2**-5,
            epsilon=2**-3,
            weight_decay=0.125,
        ),
        "timm",
        "timm.optim.Lars([dict(params=p[:2], weight_decay=0.125), dict(params=p[2:])], 2**-2, "
        "momentum=0.875, trust_coeff=2**-5, eps=2**-3)",
        note="It leaves the norms of what does not decay aside: of vectors here.",
    ),
    Trace(
        "novograd",
        "NovoGrad",
        dict(learning_rate=2**-5, beta_1=0.875, beta_2=0.96875, epsilon=2**-10, weight_decay=0.125),
        "tensorflow/addons",
        "tfa.optimizers.NovoGrad(2**-5, 0.875, 0.96875, 2**-10, 0.125)",
        with_addons,
    ),
    Trace(
        "novograd-optax",
        "NovoGrad",
        dict(learning_rate=2**-5, beta_1=0.875, beta_2=0.96875, epsilon=2**-10, weight_decay=0.125),
        "optax",
        "optax.novograd(2**-5, 0.875, 0.96875, 2**-10, weight_decay=0.125)",
        packages.with_optax,
    ),
    Trace(
        "novograd-averaging",
        "NovoGrad",
        dict(
            learning_rate=2**-5,
            beta_1=0.875,
            beta_2=0.96875,
            epsilon=2**-10,
            weight_decay=0.125,
            grad_averaging=True,
        ),
        "timm",
        "timm.optim.NvNovoGrad(p, 2**-5, (0.875, 0.96875), 2**-10, 0.125, grad_averaging=True)",
        note="TensorFlow Addons does not average at the first step.",
    ),
    Trace(
        "conditional-gradient",
        "ConditionalGradient",
        dict(learning_rate=0.9375, lambda_=2.0, epsilon=2**-5),
        "tensorflow/addons",
        "tfa.optimizers.ConditionalGradient(0.9375, 2.0, 2**-5)",
        with_addons,
    ),
    Trace(
        "conditional-gradient-nuclear",
        "ConditionalGradient",
        dict(learning_rate=0.9375, lambda_=2.0, epsilon=0.0, ord="nuclear"),
        "tensorflow/addons",
        "tfa.optimizers.ConditionalGradient(0.9375, 2.0, ord='nuclear')",
        with_addons,
        tolerance=1e-10,
        note="A singular value decomposition limits the tolerance.",
    ),
]

OTHERS = [
    Trace(
        "cocob",
        "COCOB",
        dict(alpha=100.0),
        "optax",
        "optax.contrib.cocob(alpha=100.0)",
        packages.with_optax,
    ),
    Trace(
        "cocob-addons",
        "COCOB",
        dict(alpha=4.0),
        "tensorflow/addons",
        "tfa.optimizers.COCOB(4.0)",
        with_addons,
    ),
    Trace(
        "proximal-adagrad",
        "ProximalAdagrad",
        dict(
            learning_rate=2**-3,
            initial_accumulator_value=0.125,
            l1_regularization_strength=0.25,
            l2_regularization_strength=0.125,
        ),
        "tensorflow/addons",
        "tfa.optimizers.ProximalAdagrad(2**-3, 0.125, 0.25, 0.125)",
        with_addons,
        note="Its kernel is TensorFlow's.",
    ),
    Trace(
        "lookahead-sgd",
        "Lookahead",
        dict(
            inner_optimizer=dict(
                optimizer="SGD", arguments=dict(learning_rate=2**-5, momentum=0.875)
            ),
            sync_period=6,
            slow_step_size=0.5,
        ),
        "optax",
        "optax.lookahead(optax.sgd(2**-5, momentum=0.875), 6, 0.5)",
        functools.partial(packages.with_optax, lookahead=True),
    ),
    Trace(
        "lookahead-adam",
        "Lookahead",
        dict(
            inner_optimizer=dict(
                optimizer="Adam",
                arguments=dict(learning_rate=2**-5, beta_1=0.875, beta_2=0.96875, epsilon=2**-10),
            ),
            sync_period=5,
            slow_step_size=0.25,
        ),
        "tensorflow/addons",
        "tfa.optimizers.Lookahead(legacy.Adam(2**-5, 0.875, 0.96875, 2**-10), 5, 0.25)",
        with_addons,
    ),
    Trace(
        "swa",
        "SWA",
        dict(
            inner_optimizer=dict(
                optimizer="SGD", arguments=dict(learning_rate=2**-5, momentum=0.875)
            ),
            start_averaging=0,
            average_period=10,
        ),
        "torch",
        "torch.optim.SGD(p, 2**-5, momentum=0.875)",
        functools.partial(packages.with_torch, average=lambda step: step % 10 == 0),
        note="The averages are those of torch.optim.swa_utils.AveragedModel.",
    ),
    Trace(
        "swa-start",
        "SWA",
        dict(
            inner_optimizer=dict(
                optimizer="SGD", arguments=dict(learning_rate=2**-5, momentum=0.875)
            ),
            start_averaging=7,
            average_period=3,
        ),
        "torch",
        "torch.optim.SGD(p, 2**-5, momentum=0.875)",
        functools.partial(
            packages.with_torch, average=lambda step: step >= 7 and (step - 7) % 3 == 0
        ),
        note="The averages are those of torch.optim.swa_utils.AveragedModel. There are none before "
        "the first.",
    ),
]

TRACES = [*MUON, *SCHEDULE_FREE, *ADAM_AND_KIN, *NORMS, *OTHERS]
