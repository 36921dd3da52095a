"""Schedules by name: their arguments, and references in NumPy that take the same arguments."""

import numpy as np
from keras.optimizers import schedules as keras_schedules

from tfopt import schedules


def exponential(t, rate, steps, factor, staircase=False):
    return rate * factor ** (t // steps if staircase else t / steps)


def piecewise(t, boundaries, values):
    for boundary, value in zip(boundaries, values, strict=False):
        if t <= boundary:
            return value
    return values[-1]


def polynomial(t, rate, steps, end=1e-4, power=1.0, cycle=False):
    total = steps
    while cycle and total < t:
        total += steps
    return end + (rate - end) * (1 - min(t, total) / total) ** power


def inverse_time(t, rate, steps, factor, staircase=False):
    return rate / (1 + factor * (t // steps if staircase else t / steps))


def cosine(t, rate, steps, alpha=0.0, target=None, warmup=0):
    if target is None:
        target, warmup = rate, 0
    if t < warmup:
        return np.interp(t, [0, warmup], [rate, target])
    low = alpha * target
    return low + (target - low) * np.cos(np.pi / 2 * min((t - warmup) / steps, 1)) ** 2


def restarts(t, rate, steps, t_mul=2.0, m_mul=1.0, alpha=0.0):
    height = 1.0
    while t >= steps:
        t, steps, height = t - steps, steps * t_mul, height * m_mul
    return rate * (alpha + (1 - alpha) * height * np.cos(np.pi / 2 * t / steps) ** 2)


def linear(t, rate, steps, end=0.0):
    return np.interp(t, [0, steps], [rate, end])


SHAPES = {
    "linear": lambda p: 1 - p,
    "cosine": lambda p: np.cos(np.pi / 2 * p) ** 2,
    "1-sqrt": lambda p: 1 - p**0.5,
}


def wsd(t, peak, warmup, stable, steps, decay="linear", start=0.0, end=0.0):
    if t < warmup:
        return np.interp(t, [0, warmup], [start, peak])
    progress = np.interp(t, [warmup + stable, warmup + stable + steps], [0, 1])
    return end + (peak - end) * SHAPES[decay](progress)


def one_cycle(t, peak, total, pct=0.3, div=25.0, final=1e4, anneal="cos", three_phase=False):
    """By the steps' distances from the corners, in the order of time."""
    first, top = peak / div, pct * total - 1
    corners = [(0, first), (top, peak)] if top > 0 else [(top, peak)]
    if three_phase:
        corners.append((2 * top, first))
    corners.append((total - 1, first / final))
    if anneal == "linear":
        return np.interp(t, *zip(*corners, strict=True))
    for (left, high), (right, low) in zip(corners, corners[1:], strict=False):
        if t <= right:
            return low + (high - low) * SHAPES["cosine"]((t - left) / (right - left))
    return corners[-1][1]


def cyclic(t, low, high, half, scale="triangular", gamma=1.0, mode=None):
    cycle, place = divmod(t, 2 * half)
    height = np.interp(place, [0, half, 2 * half], [0, high - low, 0])
    by_cycle = mode == "cycle" or (mode is None and scale != "exp")
    count = cycle + 1 if by_cycle else t
    return (
        low
        + height * {"triangular": 1, "triangular2": 2.0 ** (1 - count), "exp": gamma**count}[scale]
    )


def warmup(t, after, steps, start=0.0):
    """A warmup before `after`, a reference that is a function of the step alone."""
    if t < steps:
        return np.interp(t, [0, steps], [start, after(0)])
    return after(t - steps)


def sequence(t, references, boundaries):
    number = sum(t >= boundary for boundary in boundaries)
    return references[number](t - (0, *boundaries)[number])


# name: (class, arguments in order, arguments by name, reference of the same arguments)
CASES = {
    "exponential": ("ExponentialDecay", (0.1, 7, 0.5), {}, exponential),
    "exponential-up": ("ExponentialDecay", (1e-3, 8.5, 1.2), {}, exponential),
    "exponential-staircase": ("ExponentialDecay", (0.1, 7, 0.9, True), {}, exponential),
    "piecewise": ("PiecewiseConstantDecay", ([7, 20], [0.1, 0.05, 0.01]), {}, piecewise),
    "piecewise-one": ("PiecewiseConstantDecay", ([14], [0.0, 0.2]), {}, piecewise),
    "polynomial": ("PolynomialDecay", (0.1, 28), {}, polynomial),
    "polynomial-root": ("PolynomialDecay", (0.1, 28, 0.01, 0.5), {}, polynomial),
    "polynomial-up": ("PolynomialDecay", (0.01, 28, 0.1, 2.0), {}, polynomial),
    "polynomial-cycle": ("PolynomialDecay", (0.1, 7, 0.01, 2.0, True), {}, polynomial),
    "polynomial-constant": ("PolynomialDecay", (0.1, 7, 0.01, 0.0), {}, polynomial),
    "inverse": ("InverseTimeDecay", (0.1, 7, 0.5), {}, inverse_time),
    "inverse-staircase": ("InverseTimeDecay", (0.1, 7, 0.5, True), {}, inverse_time),
    "inverse-constant": ("InverseTimeDecay", (0.1, 7, 0.0), {}, inverse_time),
    "cosine": ("CosineDecay", (0.1, 28), {}, cosine),
    "cosine-alpha": ("CosineDecay", (0.1, 28, 0.2), {}, cosine),
    "cosine-warm": (
        "CosineDecay",
        (0.0, 14, 0.1),
        {"warmup_target": 0.1, "warmup_steps": 7},
        lambda t, *args: cosine(t, *args, target=0.1, warmup=7),
    ),
    "cosine-down": (
        "CosineDecay",
        (0.2, 14, 0.1),
        {"warmup_target": 0.1, "warmup_steps": 7},
        lambda t, *args: cosine(t, *args, target=0.1, warmup=7),
    ),
    "cosine-cold": (
        "CosineDecay",
        (0.0, 14),
        {"warmup_target": 0.1},
        lambda t, *args: cosine(t, *args, target=0.1),
    ),
    "restarts": ("CosineDecayRestarts", (0.1, 7), {}, restarts),
    "restarts-equal": ("CosineDecayRestarts", (0.1, 7, 1.0, 0.8, 0.1), {}, restarts),
    "restarts-faster": ("CosineDecayRestarts", (0.1, 4, 1.5, 0.5), {}, restarts),
    "restarts-up": ("CosineDecayRestarts", (0.1, 7, 3.0, 1.5, 0.01), {}, restarts),
    "linear": ("LinearDecay", (0.1, 28), {}, linear),
    "linear-end": ("LinearDecay", (0.1, 7.5, 0.02), {}, linear),
    "linear-up": ("LinearDecay", (0.0, 28, 0.1), {}, linear),
    "wsd": ("WarmupStableDecay", (0.1, 7, 7, 14), {}, wsd),
    "wsd-cosine": ("WarmupStableDecay", (0.1, 5, 9, 21, "cosine", 0.02, 0.01), {}, wsd),
    "wsd-sqrt": ("WarmupStableDecay", (0.1, 7, 0, 14, "1-sqrt", 0.0, 0.01), {}, wsd),
    "wsd-cold": ("WarmupStableDecay", (0.1, 0, 14, 7, "1-sqrt"), {}, wsd),
    "one-cycle": ("OneCycle", (0.1, 30), {}, one_cycle),
    "one-cycle-linear": ("OneCycle", (0.1, 20, 0.4, 10.0, 100.0, "linear"), {}, one_cycle),
    "one-cycle-three": ("OneCycle", (0.1, 28, 0.25, 5.0, 10.0, "cos", True), {}, one_cycle),
    "one-cycle-down": ("OneCycle", (0.1, 28, 0.0), {}, one_cycle),
    "cyclic": ("Cyclic", (0.01, 0.1, 7), {}, cyclic),
    "cyclic-halves": ("Cyclic", (0.01, 0.1, 7, "triangular2"), {}, cyclic),
    "cyclic-exp": ("Cyclic", (0.01, 0.1, 3.5, "exp", 0.95), {}, cyclic),
    "cyclic-exp-cycle": ("Cyclic", (0.01, 0.1, 7, "exp", 0.8, "cycle"), {}, cyclic),
    "cyclic-halves-steps": ("Cyclic", (0.01, 0.1, 7, "triangular2", 1.0, "iterations"), {}, cyclic),
    "warmup-number": ("Warmup", (0.1, 7), {}, lambda t, *_: warmup(t, lambda t: 0.1, 7)),
    "warmup-cosine": (
        "Warmup",
        (schedules.CosineDecay(0.1, 14, 0.1), 7, 0.02),
        {},
        lambda t, *_: warmup(t, lambda t: cosine(t, 0.1, 14, 0.1), 7, 0.02),
    ),
    "warmup-none": (
        "Warmup",
        (schedules.ExponentialDecay(0.1, 7, 0.5), 0),
        {},
        lambda t, *_: exponential(t, 0.1, 7, 0.5),
    ),
    "sequence": (
        "Sequence",
        ([schedules.LinearDecay(0.1, 14), 0.05, schedules.CosineDecay(0.1, 14)], [7, 14]),
        {},
        lambda t, *_: sequence(
            t,
            [lambda t: linear(t, 0.1, 14), lambda t: 0.05, lambda t: cosine(t, 0.1, 14)],
            [7, 14],
        ),
    ),
    "sequence-nested": (
        "Sequence",
        ([0.1, schedules.Warmup(schedules.Cyclic(0.01, 0.1, 7), 7)], [14]),
        {},
        lambda t, *_: sequence(
            t, [lambda t: 0.1, lambda t: warmup(t, lambda t: cyclic(t, 0.01, 0.1, 7), 7)], [14]
        ),
    ),
}
STEPS = [*range(30), 35, 48, 49, 50, 70, 91, 92, 280, 1000, 12345]
# Keras has no counterpart of the others.
KERAS_CASES = [case for case, (name, *_) in CASES.items() if hasattr(keras_schedules, name)]


def make(case, library=schedules):
    name, args, kwargs, _ = CASES[case]
    return getattr(library, name)(*args, **kwargs)


def expected(case, steps=STEPS):
    _, args, _, reference = CASES[case]
    return np.array([reference(t, *args) for t in steps])


def assert_rates(actual, expected):
    # Where terms cancel, float32 is as exact as the terms, of the size of the early rates.
    scale = np.abs(expected[:30]).max()
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=3e-7 * scale)
