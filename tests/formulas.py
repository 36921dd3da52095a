"""NumPy references: the formula of each optimizer, as its paper has it.

A reference is written step by step, in float64, and shares no code with tfopt:
`reference(x, g, s, t, **hyperparameters)` gives the new value of one array and keeps what it needs
in the dict `s`.
"""

from __future__ import annotations

from typing import Any

import numpy as np


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


def nadamw(x, g, s, t, learning_rate, weight_decay, beta_1, beta_2, epsilon):
    x = x * (1 - learning_rate * weight_decay)
    s["m"] = beta_1 * s.get("m", zeros(x)) + (1 - beta_1) * g
    s["v"] = beta_2 * s.get("v", zeros(x)) + (1 - beta_2) * g**2
    ahead = beta_1 * s["m"] / (1 - beta_1 ** (t + 1)) + (1 - beta_1) * g / (1 - beta_1**t)
    return x - learning_rate * ahead / (np.sqrt(s["v"] / (1 - beta_2**t)) + epsilon)


def ademamix(
    x,
    g,
    s,
    t,
    learning_rate,
    beta_1,
    beta_2,
    beta_3,
    alpha,
    epsilon,
    alpha_warmup_steps=0,
    beta_3_warmup_steps=0,
):
    if t < beta_3_warmup_steps:  # the half-life, in steps, grows linearly
        part = t / beta_3_warmup_steps
        lives = [np.log(0.5) / np.log(beta) for beta in (beta_1, beta_3)]
        beta_3 = 0.5 ** (1 / ((1 - part) * lives[0] + part * lives[1]))
    if t < alpha_warmup_steps:
        alpha = alpha * t / alpha_warmup_steps
    s["fast"] = beta_1 * s.get("fast", zeros(x)) + (1 - beta_1) * g
    s["slow"] = beta_3 * s.get("slow", zeros(x)) + (1 - beta_3) * g
    s["v"] = beta_2 * s.get("v", zeros(x)) + (1 - beta_2) * g**2
    mixed = s["fast"] / (1 - beta_1**t) + alpha * s["slow"]
    return x - learning_rate * mixed / (np.sqrt(s["v"] / (1 - beta_2**t)) + epsilon)


def rectifier(t, beta_2):
    """How many gradients the second moment stands for, and the factor of the step."""
    most = (1 + beta_2) / (1 - beta_2)
    now = most - 2 * t / (beta_2**-t - 1)
    if now <= 4:
        return now, 0.0
    return now, np.sqrt((now - 4) * (now - 2) * most / ((most - 4) * (most - 2) * now))


def radam(x, g, s, t, learning_rate, beta_1, beta_2, epsilon, sma_threshold, amsgrad=False):
    s["m"] = beta_1 * s.get("m", zeros(x)) + (1 - beta_1) * g
    s["v"] = beta_2 * s.get("v", zeros(x)) + (1 - beta_2) * g**2
    s["max"] = np.maximum(s.get("max", zeros(x)), s["v"])
    length, factor = rectifier(t, beta_2)
    step = s["m"] / (1 - beta_1**t)
    if length >= sma_threshold:
        second = s["max"] if amsgrad else s["v"]
        step = factor * step / (np.sqrt(second / (1 - beta_2**t)) + epsilon)
    return x - learning_rate * step


def adabelief(
    x,
    g,
    s,
    t,
    learning_rate,
    beta_1,
    beta_2,
    epsilon,
    rectify,
    sma_threshold=5.0,
    amsgrad=False,
):
    s["m"] = beta_1 * s.get("m", zeros(x)) + (1 - beta_1) * g
    s["v"] = beta_2 * s.get("v", zeros(x)) + (1 - beta_2) * (g - s["m"]) ** 2 + epsilon
    s["max"] = np.maximum(s.get("max", zeros(x)), s["v"])
    length, factor = rectifier(t, beta_2) if rectify else (np.inf, 1)
    step = s["m"] / (1 - beta_1**t)
    if length >= sma_threshold:
        second = s["max"] if amsgrad else s["v"]
        step = factor * step / (np.sqrt(second / (1 - beta_2**t)) + epsilon)
    return x - learning_rate * step


def lars(
    x,
    g,
    s,
    t,
    learning_rate,
    momentum,
    trust_coefficient,
    epsilon,
    nesterov=False,
    weight_decay=0.0,
):
    ratio = 1
    if x.ndim > 1:
        norms = np.sqrt((x**2).sum()), np.sqrt((g**2).sum())
        if all(norms):
            below = norms[1] + weight_decay * norms[0] + epsilon
            ratio = trust_coefficient * norms[0] / below
        g = g + weight_decay * x
    step = learning_rate * ratio * g
    s["m"] = momentum * s.get("m", zeros(x)) + step
    return x - (momentum * s["m"] + step if nesterov else s["m"])


def adan(x, g, s, t, learning_rate, beta_1, beta_2, beta_3, epsilon, weight_decay=0.0):
    d = g - s.get("before", g)
    s["before"] = g
    s["m"] = beta_1 * s.get("m", zeros(x)) + (1 - beta_1) * g
    s["q"] = beta_2 * s.get("q", zeros(x)) + (1 - beta_2) * d
    s["n"] = beta_3 * s.get("n", zeros(x)) + (1 - beta_3) * (g + beta_2 * d) ** 2
    u = s["m"] / (1 - beta_1**t) + beta_2 * s["q"] / (1 - beta_2**t)
    u = u / (np.sqrt(s["n"] / (1 - beta_3**t)) + epsilon)
    return (x - learning_rate * u) / (1 + learning_rate * weight_decay)


def adopt(x, g, s, t, learning_rate, beta_1, beta_2, epsilon):
    m, v = s.get("m", zeros(x)), s.get("v", zeros(x))
    with np.errstate(divide="ignore", invalid="ignore"):
        n = np.where(v > 0, g / np.maximum(np.sqrt(v), epsilon), 0)
    n = np.clip(n, -((t - 1) ** 0.25), (t - 1) ** 0.25)
    s["m"] = beta_1 * m + (1 - beta_1) * n
    s["v"] = np.where(v > 0, beta_2 * v + (1 - beta_2) * g**2, g**2)
    return x - learning_rate * s["m"]


def novograd(
    x,
    g,
    s,
    t,
    learning_rate,
    beta_1,
    beta_2,
    epsilon,
    grad_averaging=False,
    weight_decay=0.0,
):
    square = (g**2).sum()
    s["v"] = beta_2 * s["v"] + (1 - beta_2) * square if s.get("v") else square
    step = g / (np.sqrt(s["v"]) + epsilon) + weight_decay * x
    s["m"] = beta_1 * s.get("m", zeros(x)) + (1 - beta_1 if grad_averaging else 1) * step
    return x - learning_rate * s["m"]


def yogi(x, g, s, t, learning_rate, beta_1, beta_2, epsilon, initial_accumulator_value):
    v = s.get("v", zeros(x) + initial_accumulator_value)
    s["m"] = beta_1 * s.get("m", zeros(x)) + (1 - beta_1) * g
    s["v"] = v + (1 - beta_2) * np.sign(g**2 - v) * g**2
    rate = learning_rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
    return x - rate * s["m"] / (np.sqrt(s["v"]) + epsilon)


def schedule_free(y, step, s, t, rate, beta, r, weight_lr_power):
    """The end of each Schedule-Free optimizer, as the paper's algorithm 1 has it."""
    s["largest"] = max(s.get("largest", 0), rate)
    weight = t**r * s["largest"] ** weight_lr_power
    s["sum"] = s.get("sum", 0) + weight
    c = weight / s["sum"] if s["sum"] else 0
    x, s["z"] = s.get("x", y), s.get("z", y) - rate * step
    s["x"] = x + c * (s["z"] - x)
    return s["z"] + beta * (s["x"] - s["z"])


def schedule_free_sgd(
    x,
    g,
    s,
    t,
    learning_rate,
    momentum,
    warmup_steps=0,
    r=0.0,
    weight_lr_power=2.0,
    weight_decay=0.0,
):
    rate = learning_rate * (min(1, t / warmup_steps) if warmup_steps else 1)
    return schedule_free(x, g + weight_decay * x, s, t, rate, momentum, r, weight_lr_power)


def schedule_free_adamw(
    x,
    g,
    s,
    t,
    learning_rate,
    beta_1,
    beta_2,
    epsilon,
    warmup_steps=0,
    r=0.0,
    weight_lr_power=2.0,
    weight_decay=0.0,
    rectified=False,
):
    s["v"] = beta_2 * s.get("v", zeros(x)) + (1 - beta_2) * g**2
    step = g / (np.sqrt(s["v"] / (1 - beta_2**t)) + epsilon) + weight_decay * x
    rate = learning_rate * (min(1, t / warmup_steps) if warmup_steps else 1)
    if rectified:
        rate = rate * rectifier(t, beta_2)[1]
    return schedule_free(x, step, s, t, rate, beta_1, r, weight_lr_power)


def schedule_free_radam(x, g, s, t, **numbers):
    return schedule_free_adamw(x, g, s, t, rectified=True, **numbers)


def proximal_adagrad(
    x,
    g,
    s,
    t,
    learning_rate,
    initial_accumulator_value,
    l1_regularization_strength,
    l2_regularization_strength,
):
    s["sum"] = s.get("sum", zeros(x) + initial_accumulator_value) + g**2
    rate = learning_rate / np.sqrt(s["sum"])
    u, threshold = x - rate * g, rate * l1_regularization_strength
    u = np.where(u > threshold, u - threshold, np.where(u < -threshold, u + threshold, 0))
    return u / (1 + rate * l2_regularization_strength)


def conditional_gradient(x, g, s, t, learning_rate, lambda_, epsilon=1e-7, ord="fro"):
    if ord == "nuclear" and g.ndim > 1:
        matrix = g.reshape(-1, g.shape[-1])
        values, vectors = np.linalg.eigh(matrix.T @ matrix)
        v = vectors[:, -1]
        toward = np.outer(matrix @ v, v) / np.sqrt(values[-1]) if values[-1] > 0 else zeros(matrix)
        toward = toward.reshape(g.shape)
    else:
        toward = g / (np.sqrt((g**2).sum()) + epsilon)
    return learning_rate * x + (1 - learning_rate) * -lambda_ * toward


def cocob(x, g, s, t, alpha, learning_rate):
    first = s.setdefault("first", x)
    s["largest"] = np.maximum(s.get("largest", zeros(x) + 1e-8), np.abs(g))
    s["total"] = s.get("total", 0) + np.abs(g)
    s["wins"] = np.maximum(s.get("wins", 0) + (first - x) * g, 0)
    s["against"] = s.get("against", 0) - g
    scale = np.maximum(s["total"] / s["largest"] + 1, alpha)
    goal = first + s["against"] * (s["largest"] + s["wins"]) / (s["largest"] ** 2 * scale)
    return learning_rate * goal + (1 - learning_rate) * x


def muon(
    x,
    g,
    s,
    t,
    learning_rate,
    adam_beta_1,
    adam_beta_2,
    epsilon,
    weight_decay,
    momentum,
    nesterov=True,
    rms_rate=None,
    ns_steps=5,
    muon_a=3.4445,
    muon_b=-4.775,
    muon_c=2.0315,
    adam_lr_ratio=1.0,
    adam_weight_decay=None,
    exclude_layers=None,
    polar_express=False,
    normuon_beta=None,
):
    if x.ndim < 2 or exclude_layers == ["Variable"]:
        decay = weight_decay if adam_weight_decay is None else adam_weight_decay
        x = x - learning_rate * decay * x
        rate = learning_rate * adam_lr_ratio
        return adam(x, g, s, t, rate, adam_beta_1, adam_beta_2, epsilon)
    s["m"] = momentum * s.get("m", zeros(x)) + g
    u = (g + momentum * s["m"] if nesterov else s["m"]).reshape(-1, x.shape[-1])
    # An odd polynomial of the singular values.
    left, values, right = np.linalg.svd(u, full_matrices=False)
    values = values / (np.sqrt((u**2).sum()) * (1.02 if polar_express else 1) + 1e-7)
    for i in range(ns_steps):
        a, b, c = muon_a, muon_b, muon_c
        if polar_express:
            a, b, c = POLAR_EXPRESS[i]
        values = a * values + b * values**3 + c * values**5
    o = left @ np.diag(values) @ right
    if normuon_beta is not None:
        mean = (o**2).mean(axis=0)
        s["q"] = normuon_beta * s.get("q", np.zeros_like(mean)) + (1 - normuon_beta) * mean
        scaled = o / (np.sqrt(s["q"]) + 1e-10)
        o = scaled * np.linalg.norm(o) / np.linalg.norm(scaled) if scaled.any() else scaled
    rows, columns = o.shape
    size = np.sqrt(max(1, columns / rows))
    if rms_rate is not None:
        size = rms_rate * np.sqrt(max(rows, columns))
    return x * (1 - learning_rate * weight_decay) - learning_rate * size * o.reshape(x.shape)


# The coefficients that the authors of Polar Express give for five iterations.
POLAR_EXPRESS = [
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
]
