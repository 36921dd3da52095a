"""THE table: one row an optimizer, with its NumPy reference. Every conformance test crosses it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import tf_keras
from formulas import (
    adabelief,
    adadelta,
    adafactor,
    adagrad,
    adam,
    adamax,
    adamw,
    adan,
    ademamix,
    adopt,
    cocob,
    conditional_gradient,
    ftrl,
    lamb,
    lars,
    lion,
    muon,
    nadam,
    nadamw,
    novograd,
    proximal_adagrad,
    radam,
    rmsprop,
    schedule_free_adamw,
    schedule_free_radam,
    schedule_free_sgd,
    sgd,
    yogi,
)

import tfopt

legacy = tf_keras.optimizers.legacy


@dataclasses.dataclass(eq=False)
class Case:
    """One optimizer with one set of arguments.

    Attributes:
        cls: the optimizer.
        arguments: of the constructor; every number is exact in float32, which is how
            hyperparameters are stored.
        reference: the NumPy formula.
        slots: names of the slots, in the order of `weights`.
        peer: an optimizer by somebody else that must agree on dense gradients, if there is
            one: OptimizerV2's, whose state must agree too, or Keras 3's.
        peer_needs_variance: whether the peer takes roots of a variance that rounds below zero
            where gradients hardly vary.
        perturb: by how much to change a hyperparameter to see the check fail, where the
            default factor of 1.0625 would leave its range or have no effect.
        sparse: what a gradient of rows means under `lazy=None`.
        rows_equal_exact: whether updating rows only gives the result of the dense gradient.
        factored: whether some slots have not the shape of their variable.
        tolerance: relative, to the formula; looser where iterations amplify rounding.
        note: what sets this row apart from others of the optimizer; the first has none.
    """

    cls: type[tfopt.Optimizer]
    arguments: dict[str, Any]
    reference: Callable[..., Any]
    slots: tuple[str, ...] = ()
    peer: Any = None
    peer_needs_variance: bool = False
    perturb: dict[str, Any] = dataclasses.field(default_factory=dict)
    sparse: str = "exact"
    rows_equal_exact: bool = False
    factored: bool = False
    tolerance: float = 1e-10
    note: str = ""

    @property
    def name(self) -> str:
        return f"{self.cls.__name__}{'-' + self.note if self.note else ''}"

    @property
    def has_v2_peer(self) -> bool:
        return self.peer is not None and issubclass(self.peer, legacy.Optimizer)

    @property
    def averages_itself(self) -> bool:
        """Whether it has evaluation weights of its own, and refuses `use_ema`."""
        return self.cls.evaluated is not tfopt.Optimizer.evaluated

    @property
    def kind(self) -> tuple[Any, ...]:
        """What the code around a formula sees of it."""
        has_kernel = self.cls.fused is not tfopt.Optimizer.fused
        begins, roles = self.cls.begin is not tfopt.Optimizer.begin, bool(self.cls.roles)
        if self.sparse == "whole":  # where it hardly matters what else there is
            return has_kernel, self.sparse, self.factored and not roles, roles
        return has_kernel, self.sparse, begins, bool(self.slots)

    def make(self, **changes: Any) -> Any:
        return self.cls(**{**self.arguments, **changes})

    def make_peer(self) -> Any:
        return self.peer(**self.arguments)


RATE = 2.0**-5
ADAM = {"learning_rate": RATE, "beta_1": 0.875, "beta_2": 0.96875, "epsilon": 2.0**-10}
FTRL = {
    "learning_rate": 0.25,
    "learning_rate_power": -0.5,
    "initial_accumulator_value": 0.125,
    "l1_regularization_strength": 0.25,
    "l2_regularization_strength": 0.0625,
    "beta": 0.125,
}
RMS = {"learning_rate": RATE, "rho": 0.875, "epsilon": 2.0**-10}
ADAFACTOR = {
    "learning_rate": 0.5,
    "beta_2_decay": -0.75,
    "epsilon_1": 2.0**-10,
    "epsilon_2": 0.75,
    "clip_threshold": 0.75,
}
LARS = {"learning_rate": 0.5, "momentum": 0.75, "trust_coefficient": 0.0625, "epsilon": 0.125}
SCHEDULE_FREE = {"warmup_steps": 8, "r": 0.5, "weight_lr_power": 1.5}
MUON = {
    "learning_rate": RATE,
    "adam_beta_1": 0.875,
    "adam_beta_2": 0.96875,
    "epsilon": 2.0**-10,
    "weight_decay": 0.5,
    "momentum": 0.75,
}
MOMENTS = ("m", "v")

CASES = [
    Case(
        tfopt.SGD,
        {"learning_rate": RATE},
        sgd,
        peer=legacy.SGD,
        sparse="rows",
        rows_equal_exact=True,
    ),
    Case(
        tfopt.SGD,
        {"learning_rate": RATE, "momentum": 0.75},
        sgd,
        ("momentum",),
        legacy.SGD,
        sparse="rows",
        note="momentum",
    ),
    Case(
        tfopt.SGD,
        {"learning_rate": RATE, "momentum": 0.75, "nesterov": True},
        sgd,
        ("momentum",),
        legacy.SGD,
        sparse="rows",
        note="nesterov",
    ),
    Case(tfopt.RMSprop, RMS, rmsprop, ("rms",), legacy.RMSprop),
    Case(
        tfopt.RMSprop,
        {**RMS, "momentum": 0.75},
        rmsprop,
        ("rms", "momentum"),
        legacy.RMSprop,
        sparse="rows",
        note="momentum",
    ),
    Case(
        tfopt.RMSprop,
        {**RMS, "centered": True},
        rmsprop,
        ("rms", "mg"),
        legacy.RMSprop,
        note="centered",
        peer_needs_variance=True,
    ),
    Case(
        tfopt.RMSprop,
        {**RMS, "momentum": 0.75, "centered": True},
        rmsprop,
        ("rms", "momentum", "mg"),
        legacy.RMSprop,
        sparse="rows",
        note="centered-momentum",
        peer_needs_variance=True,
    ),
    Case(tfopt.Adam, ADAM, adam, MOMENTS, legacy.Adam),
    Case(
        tfopt.Adam,
        {**ADAM, "amsgrad": True},
        adam,
        (*MOMENTS, "vhat"),
        legacy.Adam,
        note="amsgrad",
    ),
    Case(tfopt.AdamW, {**ADAM, "weight_decay": 0.5}, adamw, MOMENTS, keras.optimizers.AdamW),
    Case(
        tfopt.AdamW,
        {**ADAM, "weight_decay": 0.5, "amsgrad": True},
        adamw,
        (*MOMENTS, "vhat"),
        keras.optimizers.AdamW,
        note="amsgrad",
    ),
    Case(
        tfopt.Adadelta,
        {"learning_rate": 0.5, "rho": 0.875, "epsilon": 2.0**-10},
        adadelta,
        ("accum_grad", "accum_var"),
        legacy.Adadelta,
        sparse="rows",
    ),
    Case(
        tfopt.Adagrad,
        {"learning_rate": 0.25, "initial_accumulator_value": 0.125, "epsilon": 2.0**-10},
        adagrad,
        ("accumulator",),
        legacy.Adagrad,
        sparse="rows",
        rows_equal_exact=True,
    ),
    Case(tfopt.Adamax, ADAM, adamax, MOMENTS, legacy.Adamax, sparse="rows"),
    Case(
        tfopt.Nadam,
        {**ADAM, "schedule_decay": 0.0625},
        nadam,
        MOMENTS,
        legacy.Nadam,
        sparse="rows_move",
    ),
    Case(
        tfopt.Ftrl,
        FTRL,
        ftrl,
        ("accumulator", "linear"),
        legacy.Ftrl,
        sparse="rows",
        perturb={"learning_rate_power": -0.75},
    ),
    Case(
        tfopt.Ftrl,
        {**FTRL, "l2_shrinkage_regularization_strength": 0.125},
        ftrl,
        ("accumulator", "linear"),
        legacy.Ftrl,
        sparse="rows",
        note="shrinkage",
        perturb={"learning_rate_power": -0.75},
    ),
    Case(
        tfopt.Lion,
        {"learning_rate": RATE, "beta_1": 0.875, "beta_2": 0.96875},
        lion,
        ("m",),
        keras.optimizers.Lion,
    ),
    Case(tfopt.LAMB, ADAM, lamb, MOMENTS, getattr(keras.optimizers, "Lamb", None), sparse="whole"),
    Case(
        tfopt.LAMB,
        {**ADAM, "weight_decay": 0.5},
        lamb,
        MOMENTS,
        sparse="whole",
        note="weight_decay",
    ),
    Case(
        tfopt.Adafactor,
        {**ADAFACTOR, "relative_step": True},
        adafactor,
        ("r", "c", "v"),
        keras.optimizers.Adafactor,
        sparse="whole",
        factored=True,
    ),
    Case(
        tfopt.Adafactor,
        {**ADAFACTOR, "relative_step": False},
        adafactor,
        ("r", "c", "v"),
        sparse="whole",
        factored=True,
        note="absolute",
    ),
    Case(tfopt.NAdamW, {**ADAM, "weight_decay": 0.5}, nadamw, MOMENTS),
    Case(
        tfopt.AdEMAMix,
        {**ADAM, "beta_3": 0.984375, "alpha": 2.0},
        ademamix,
        ("m", "m_slow", "v"),
    ),
    Case(
        tfopt.AdEMAMix,
        {
            **ADAM,
            "beta_3": 0.984375,
            "alpha": 2.0,
            "alpha_warmup_steps": 6,
            "beta_3_warmup_steps": 4,
        },
        ademamix,
        ("m", "m_slow", "v"),
        note="warmup",
        perturb={"alpha_warmup_steps": 7, "beta_3_warmup_steps": 5},
    ),
    Case(
        tfopt.RectifiedAdam,
        {**ADAM, "sma_threshold": 5.0},
        radam,
        MOMENTS,
        perturb={"sma_threshold": 8.0},
    ),
    Case(
        tfopt.RectifiedAdam,
        {**ADAM, "sma_threshold": 8.0, "amsgrad": True},
        radam,
        (*MOMENTS, "vhat"),
        note="amsgrad",
        perturb={"sma_threshold": 5.0},
    ),
    Case(
        tfopt.AdaBelief,
        {**ADAM, "rectify": True, "sma_threshold": 5.0},
        adabelief,
        MOMENTS,
        perturb={"sma_threshold": 8.0},
    ),
    Case(
        tfopt.AdaBelief,
        {**ADAM, "rectify": False, "amsgrad": True},
        adabelief,
        (*MOMENTS, "vhat"),
        note="amsgrad",
    ),
    Case(tfopt.LARS, LARS, lars, ("momentum",), sparse="whole"),
    Case(
        tfopt.LARS,
        {**LARS, "nesterov": True, "weight_decay": 0.5},
        lars,
        ("momentum",),
        sparse="whole",
        note="nesterov",
    ),
    Case(tfopt.Adan, {**ADAM, "beta_3": 0.984375}, adan, ("m", "d", "v", "previous")),
    Case(
        tfopt.Adan,
        {**ADAM, "beta_3": 0.984375, "weight_decay": 0.5},
        adan,
        ("m", "d", "v", "previous"),
        note="weight_decay",
    ),
    Case(tfopt.ADOPT, {**ADAM, "epsilon": 0.5}, adopt, MOMENTS),
    Case(
        tfopt.NovoGrad,
        ADAM,
        novograd,
        MOMENTS,
        sparse="whole",
        factored=True,
    ),
    Case(
        tfopt.NovoGrad,
        {**ADAM, "grad_averaging": True, "weight_decay": 0.5},
        novograd,
        MOMENTS,
        sparse="whole",
        factored=True,
        note="averaging",
    ),
    Case(tfopt.Yogi, {**ADAM, "initial_accumulator_value": 0.125}, yogi, MOMENTS),
    Case(
        tfopt.ScheduleFreeSGD,
        {"learning_rate": 0.125, "momentum": 0.75},
        schedule_free_sgd,
        ("z", "average", "weight_sum"),
        sparse="whole",
        factored=True,
    ),
    Case(
        tfopt.ScheduleFreeSGD,
        {**SCHEDULE_FREE, "learning_rate": 0.125, "momentum": 0.75, "weight_decay": 0.5},
        schedule_free_sgd,
        ("z", "average", "weight_sum"),
        sparse="whole",
        factored=True,
        note="warmup",
        perturb={"warmup_steps": 9},
    ),
    Case(
        tfopt.ScheduleFreeAdamW,
        ADAM,
        schedule_free_adamw,
        ("z", "average", "weight_sum", "v"),
        sparse="whole",
        factored=True,
    ),
    Case(
        tfopt.ScheduleFreeAdamW,
        {**ADAM, **SCHEDULE_FREE, "weight_decay": 0.5},
        schedule_free_adamw,
        ("z", "average", "weight_sum", "v"),
        sparse="whole",
        factored=True,
        note="warmup",
        perturb={"warmup_steps": 9},
    ),
    Case(
        tfopt.ScheduleFreeRAdam,
        {**ADAM, **SCHEDULE_FREE, "weight_decay": 0.5},
        schedule_free_radam,
        ("z", "average", "weight_sum", "v"),
        sparse="whole",
        factored=True,
        perturb={"warmup_steps": 9},
    ),
    Case(
        tfopt.ProximalAdagrad,
        {
            "learning_rate": 0.25,
            "initial_accumulator_value": 0.125,
            "l1_regularization_strength": 0.125,
            "l2_regularization_strength": 0.25,
        },
        proximal_adagrad,
        ("accumulator",),
        sparse="rows",
    ),
    Case(
        tfopt.ConditionalGradient,
        {"learning_rate": 0.75, "lambda_": 2.0, "epsilon": 2.0**-10, "ord": "fro"},
        conditional_gradient,
        sparse="whole",
        perturb={"ord": "nuclear"},
    ),
    Case(
        tfopt.ConditionalGradient,
        {"learning_rate": 0.75, "lambda_": 2.0, "ord": "nuclear"},
        conditional_gradient,
        sparse="whole",
        note="nuclear",
        perturb={"ord": "fro"},
    ),
    Case(
        tfopt.COCOB,
        {"alpha": 4.0, "learning_rate": 1.0},
        cocob,
        ("start", "largest", "total", "reward", "bet"),
        sparse="rows",
        rows_equal_exact=True,
    ),
    Case(
        tfopt.Muon,
        {**MUON, "nesterov": True, "rms_rate": 0.25, "adam_weight_decay": 0.5},
        muon,
        ("momentum", "m", "v"),
        getattr(keras.optimizers, "Muon", None),
        sparse="whole",
    ),
    Case(
        tfopt.Muon,
        {
            **MUON,
            "nesterov": False,
            "muon_a": 3.5,
            "muon_b": -4.75,
            "muon_c": 2.0,
            "ns_steps": 4,
            "adam_lr_ratio": 0.5,
            "adam_weight_decay": 0.25,
            "exclude_layers": [],
            "rms_rate": None,
        },
        muon,
        ("momentum", "m", "v"),
        sparse="whole",
        note="original",
        perturb={"ns_steps": 5, "exclude_layers": ["Variable"]},
    ),
    Case(
        tfopt.Muon,
        {**MUON, "rms_rate": 0.25, "polar_express": True, "normuon_beta": 0.875},
        muon,
        ("momentum", "output_norms", "m", "v"),
        sparse="whole",
        factored=True,
        tolerance=1e-8,
        note="polar-express",
    ),
]
IDS = [case.name for case in CASES]
