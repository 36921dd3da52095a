"""THE table: one row an optimizer, its NumPy reference above it.

A reference is written from the paper's formula, step by step, in float64, and shares no
code with tfopt: `reference(x, g, s, t, **hyperparameters)` gives the new value of one
array and keeps what it needs in the dict `s`. Every conformance test crosses the table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tf_keras

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
    note: str = ""

    @property
    def name(self) -> str:
        return f"{self.cls.__name__}{'-' + self.note if self.note else ''}"

    @property
    def has_v2_peer(self) -> bool:
        return self.peer is not None and issubclass(self.peer, legacy.Optimizer)

    @property
    def kind(self) -> tuple[Any, ...]:
        """What the code around a formula sees of it."""
        has_kernel = self.cls.fused is not tfopt.Optimizer.fused
        begins = self.cls.begin is not tfopt.Optimizer.begin
        return has_kernel, begins, self.sparse, bool(self.slots), self.factored

    def make(self, **changes: Any) -> Any:
        return self.cls(**{**self.arguments, **changes})

    def make_peer(self) -> Any:
        return self.peer(**self.arguments)


def zeros(x: Any) -> Any:
    return np.zeros_like(x)


def sgd(x, g, s, t, learning_rate, momentum=0.0, nesterov=False):
    if momentum == 0:
        return x - learning_rate * g
    s["m"] = momentum * s.get("m", zeros(x)) - learning_rate * g
    return x + (momentum * s["m"] - learning_rate * g if nesterov else s["m"])


def rmsprop(x, g, s, t, learning_rate, rho, epsilon, momentum=0.0, centered=False):
    s["v"] = rho * s.get("v", zeros(x)) + (1 - rho) * g**2
    variance = s["v"]
    if centered:
        s["mean"] = rho * s.get("mean", zeros(x)) + (1 - rho) * g
        variance = np.maximum(s["v"] - s["mean"] ** 2, 0)
    if momentum == 0:
        return x - learning_rate * g / (np.sqrt(variance) + epsilon)
    s["u"] = momentum * s.get("u", zeros(x)) + learning_rate * g / np.sqrt(variance + epsilon)
    return x - s["u"]


def adam(x, g, s, t, learning_rate, beta_1, beta_2, epsilon, amsgrad=False):
    s["m"] = beta_1 * s.get("m", zeros(x)) + (1 - beta_1) * g
    s["v"] = beta_2 * s.get("v", zeros(x)) + (1 - beta_2) * g**2
    second = s["v"]
    if amsgrad:
        second = s["max"] = np.maximum(s.get("max", zeros(x)), s["v"])
    rate = learning_rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
    return x - rate * s["m"] / (np.sqrt(second) + epsilon)


def adamw(x, g, s, t, learning_rate, weight_decay, **rest):
    return adam(x * (1 - learning_rate * weight_decay), g, s, t, learning_rate, **rest)


def adadelta(x, g, s, t, learning_rate, rho, epsilon):
    s["v"] = rho * s.get("v", zeros(x)) + (1 - rho) * g**2
    step = np.sqrt((s.get("u", zeros(x)) + epsilon) / (s["v"] + epsilon)) * g
    s["u"] = rho * s.get("u", zeros(x)) + (1 - rho) * step**2
    return x - learning_rate * step


def adagrad(x, g, s, t, learning_rate, initial_accumulator_value, epsilon):
    s["sum"] = s.get("sum", zeros(x) + initial_accumulator_value) + g**2
    return x - learning_rate * g / (np.sqrt(s["sum"]) + epsilon)


def adamax(x, g, s, t, learning_rate, beta_1, beta_2, epsilon):
    s["m"] = beta_1 * s.get("m", zeros(x)) + (1 - beta_1) * g
    s["norm"] = np.maximum(beta_2 * s.get("norm", zeros(x)), np.abs(g))
    return x - learning_rate / (1 - beta_1**t) * s["m"] / (s["norm"] + epsilon)


def nadam(x, g, s, t, learning_rate, beta_1, beta_2, epsilon, schedule_decay):
    def mu(step):
        base = float(np.float32(0.96))  # as the peer rounds it
        return beta_1 * (1 - 0.5 * base ** (step * schedule_decay))

    product = s["product"] = s.get("product", 1) * mu(t)
    s["m"] = beta_1 * s.get("m", zeros(x)) + (1 - beta_1) * g
    s["v"] = beta_2 * s.get("v", zeros(x)) + (1 - beta_2) * g**2
    mean = (1 - mu(t)) * g / (1 - product) + mu(t + 1) * s["m"] / (1 - product * mu(t + 1))
    return x - learning_rate * mean / (np.sqrt(s["v"] / (1 - beta_2**t)) + epsilon)


def ftrl(
    x,
    g,
    s,
    t,
    learning_rate,
    learning_rate_power,
    initial_accumulator_value,
    l1_regularization_strength,
    l2_regularization_strength,
    l2_shrinkage_regularization_strength=0.0,
    beta=0.0,
):
    n = s.get("n", zeros(x) + initial_accumulator_value)
    z = s.get("z", zeros(x))
    s["n"] = n + g**2
    rate = s["n"] ** -learning_rate_power / learning_rate
    old_rate = n**-learning_rate_power / learning_rate
    s["z"] = z + g + 2 * l2_shrinkage_regularization_strength * x - (rate - old_rate) * x
    l1, l2 = l1_regularization_strength, l2_regularization_strength
    new = (np.sign(s["z"]) * l1 - s["z"]) / (rate + 2 * l2 + beta / learning_rate)
    return np.where(np.abs(s["z"]) > l1, new, 0)


def lion(x, g, s, t, learning_rate, beta_1, beta_2):
    m = s.get("m", zeros(x))
    s["m"] = beta_2 * m + (1 - beta_2) * g
    return x - learning_rate * np.sign(beta_1 * m + (1 - beta_1) * g)


def lamb(x, g, s, t, learning_rate, beta_1, beta_2, epsilon, weight_decay=0.0):
    s["m"] = beta_1 * s.get("m", zeros(x)) + (1 - beta_1) * g
    s["v"] = beta_2 * s.get("v", zeros(x)) + (1 - beta_2) * g**2
    m_hat, v_hat = s["m"] / (1 - beta_1**t), s["v"] / (1 - beta_2**t)
    step = m_hat / (np.sqrt(v_hat) + epsilon) + weight_decay * x
    norms = np.sqrt(np.sum(x**2)), np.sqrt(np.sum(step**2))
    return x - learning_rate * (norms[0] / norms[1] if all(norms) else 1) * step


def adafactor(
    x,
    g,
    s,
    t,
    learning_rate,
    beta_2_decay,
    epsilon_1,
    epsilon_2,
    clip_threshold,
    relative_step,
):
    def rms(values):
        return np.linalg.norm(values) / np.sqrt(values.size)

    def second_moment(g, s):
        if g.ndim > 2:  # a stack of matrices
            return np.stack([second_moment(g[i], s.setdefault(i, {})) for i in range(len(g))])
        squares = g**2 + epsilon_1
        if g.ndim < 2:
            s["v"] = beta_2 * s.get("v", 0) + (1 - beta_2) * squares
            return s["v"]
        s["row"] = beta_2 * s.get("row", 0) + (1 - beta_2) * squares.sum(axis=1)
        s["column"] = beta_2 * s.get("column", 0) + (1 - beta_2) * squares.sum(axis=0)
        return np.outer(s["row"], s["column"]) / s["row"].sum()

    beta_2 = 1 - float(t) ** beta_2_decay
    step = g / np.sqrt(second_moment(g, s))
    step = step / max(1, rms(step) / clip_threshold)
    rate = min(learning_rate, t**-0.5) if relative_step else learning_rate
    return x - rate * max(epsilon_2, rms(x)) * step


RATE = 2.0**-5
ADAM = {"learning_rate": RATE, "beta_1": 0.875, "beta_2": 0.96875, "epsilon": 2.0**-10}
FTRL = {
    "learning_rate": 0.5,
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
]
IDS = [case.name for case in CASES]
