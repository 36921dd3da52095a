"""The formulas of the papers in NumPy: a second opinion on each trace before it is stored.

An equation has the name of tfopt's optimizer in `EQUATIONS`, and takes its arguments by the same
names. `equation(x, g, s, t, **arguments)` gives the new value of one array at step `t`, from 1. It
keeps what it needs in the dict `s`, and there leaves the weights for evaluation as `evaluated`.
"""

import math

import numpy as np

COEFFICIENTS = {"standard": [(3.4445, -4.7750, 2.0315)]}  # the last ones are repeated
SAFETY = {"polar_express": 1.02}


def keep(s, name, start, decay, value):
    """An exponential moving average, which begins at `start`."""
    s[name] = decay * s.get(name, start) + (1 - decay) * value
    return s[name]


def unbiased(s, name, decay, t, value):
    """The same from zero, divided by the sum of its weights."""
    return keep(s, name, 0.0, decay, value) / (1 - decay**t)


# --- matrices -------------------------------------------------------------------------------------


def orthogonal(u, coefficients, epsilon, safety=1.0):
    """Newton-Schulz iterations, on the side that has fewer rows."""
    if len(u) > len(u.T):
        return orthogonal(u.T, coefficients, epsilon, safety).T
    u = u / (np.linalg.norm(u) * safety + epsilon)
    for a, b, c in coefficients:
        square = u @ u.T
        u = a * u + b * square @ u + c * square @ square @ u
    return u


def muon(
    x,
    g,
    s,
    t,
    learning_rate,
    momentum=0.95,
    weight_decay=None,
    nesterov=True,
    ns_steps=5,
    rms_rate=0.2,
    polar_express=False,
    normuon_beta=None,
    adam_beta_1=0.9,
    adam_beta_2=0.999,
    epsilon=1e-7,
    adam_weight_decay=None,
    adam_lr_ratio=1.0,
):
    decayed = x - learning_rate * (weight_decay or 0.0) * x
    if x.ndim < 2:
        decayed = x - learning_rate * (adam_weight_decay or weight_decay or 0.0) * x
        rate = learning_rate * adam_lr_ratio
        return adamw(decayed, g, s, t, rate, adam_beta_1, adam_beta_2, epsilon)
    shape, g = x.shape, g.reshape(-1, g.shape[-1])  # a kernel of a convolution is a matrix, too
    m = s["m"] = momentum * s.get("m", 0.0) + g
    u = momentum * m + g if nesterov else m
    name = "polar_express" if polar_express else "standard"
    triples = COEFFICIENTS[name]
    triples = [triples[min(i, len(triples) - 1)] for i in range(ns_steps)]
    o = orthogonal(u, triples, 1e-7, SAFETY.get(name, 1.0))
    if normuon_beta is not None:
        size = np.linalg.norm(o)
        q = keep(s, "q", 0.0, normuon_beta, (o * o).mean(0))  # one number for each output
        o = o / (np.sqrt(q) + 1e-10)
        o = o * size / np.linalg.norm(o)
    fan_in, fan_out = o.shape
    factor = math.sqrt(max(1, fan_out / fan_in))
    if rms_rate is not None:
        factor = rms_rate * math.sqrt(max(fan_in, fan_out))
    return decayed - learning_rate * factor * o.reshape(shape)


# --- schedule-free --------------------------------------------------------------------------------


def schedule_free(s, t, y, d, rate, momentum, weight_decay, r, weight_lr_power):
    """Holds y. The other two sequences are z and its mean, which is evaluated."""
    s["largest"] = max(s.get("largest", 0.0), rate)
    weight = t**r * s["largest"] ** weight_lr_power
    s["sum"] = s.get("sum", 0.0) + weight
    share = weight / s["sum"] if s["sum"] else 0.0
    z = s.get("z", y) - rate * (d + weight_decay * y)
    mean = (1 - share) * s.get("evaluated", y) + share * z
    s["z"], s["evaluated"] = z, mean
    return (1 - momentum) * z + momentum * mean


def warm(rate, t, steps):
    return rate * min(1.0, t / steps) if steps else rate


def schedule_free_sgd(
    y,
    g,
    s,
    t,
    learning_rate,
    momentum,
    weight_decay=0.0,
    warmup_steps=0,
    r=0.0,
    weight_lr_power=2.0,
):
    rate = warm(learning_rate, t, warmup_steps)
    return schedule_free(s, t, y, g, rate, momentum, weight_decay, r, weight_lr_power)


def schedule_free_adamw(
    y,
    g,
    s,
    t,
    learning_rate,
    beta_1,
    beta_2,
    epsilon,
    weight_decay=0.0,
    warmup_steps=0,
    r=0.0,
    weight_lr_power=2.0,
):
    d = g / (np.sqrt(unbiased(s, "v", beta_2, t, g * g)) + epsilon)
    rate = warm(learning_rate, t, warmup_steps)
    return schedule_free(s, t, y, d, rate, beta_1, weight_decay, r, weight_lr_power)


def schedule_free_radam(
    y,
    g,
    s,
    t,
    learning_rate,
    beta_1,
    beta_2,
    epsilon,
    weight_decay=0.0,
    r=0.0,
    weight_lr_power=2.0,
):
    root = np.sqrt(unbiased(s, "v", beta_2, t, g * g)) + epsilon
    length, factor = rectification(beta_2, t)
    d = g / root if length > 4 else g
    return schedule_free(
        s, t, y, d, learning_rate * factor, beta_1, weight_decay, r, weight_lr_power
    )


# --- Adam and its kin -----------------------------------------------------------------------------


def rectification(beta_2, t):
    """The length of the simple moving average, and the factor by which RAdam rectifies."""
    longest = 2 / (1 - beta_2) - 1
    length = longest - 2 * t * beta_2**t / (1 - beta_2**t)
    if length <= 4:
        return length, 0.0
    square = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    return length, math.sqrt(square)


def nadamw(x, g, s, t, learning_rate, beta_1, beta_2, epsilon, weight_decay):
    m = keep(s, "m", 0.0, beta_1, g)
    ahead = beta_1 * m / (1 - beta_1 ** (t + 1)) + (1 - beta_1) * g / (1 - beta_1**t)
    return x - learning_rate * (
        ahead / (np.sqrt(unbiased(s, "v", beta_2, t, g * g)) + epsilon) + weight_decay * x
    )


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
    weight_decay,
    alpha_warmup_steps=0,
    beta_3_warmup_steps=0,
):
    if t < alpha_warmup_steps:
        alpha = alpha * t / alpha_warmup_steps
    if t < beta_3_warmup_steps:
        part = t / beta_3_warmup_steps
        fast, slow = math.log(beta_1), math.log(beta_3)
        beta_3 = math.exp(fast * slow / ((1 - part) * slow + part * fast))
    m, v = unbiased(s, "m", beta_1, t, g), unbiased(s, "v", beta_2, t, g * g)
    slow = keep(s, "slow", 0.0, beta_3, g)
    return x - learning_rate * ((m + alpha * slow) / (np.sqrt(v) + epsilon) + weight_decay * x)


def rectified(
    x,
    g,
    s,
    t,
    learning_rate,
    beta_1,
    beta_2,
    epsilon,
    weight_decay=0.0,
    sma_threshold=5.0,
    amsgrad=False,
):
    m, v = unbiased(s, "m", beta_1, t, g), keep(s, "v", 0.0, beta_2, g * g)
    if amsgrad:
        v = s["most"] = np.maximum(s.get("most", 0.0), v)
    length, factor = rectification(beta_2, t)
    if length >= sma_threshold:
        m = factor * m / (np.sqrt(v / (1 - beta_2**t)) + epsilon)
    return x - learning_rate * (m + weight_decay * x)


def adabelief(x, g, s, t, learning_rate, beta_1, beta_2, epsilon, rectify, weight_decay=0.0):
    m = keep(s, "m", 0.0, beta_1, g)
    v = s["v"] = beta_2 * s.get("v", 0.0) + (1 - beta_2) * (g - m) ** 2 + epsilon
    step, root = m / (1 - beta_1**t), np.sqrt(v / (1 - beta_2**t)) + epsilon
    length, factor = rectification(beta_2, t) if rectify else (5.0, 1.0)
    return x - learning_rate * ((factor * step / root if length >= 5 else step) + weight_decay * x)


def adan(x, g, s, t, learning_rate, beta_1, beta_2, beta_3, epsilon, weight_decay):
    change = g - s.get("before", g)
    s["before"] = g
    m, q = unbiased(s, "m", beta_1, t, g), unbiased(s, "q", beta_2, t, change)
    n = unbiased(s, "n", beta_3, t, (g + beta_2 * change) ** 2)
    return (x - learning_rate * (m + beta_2 * q) / (np.sqrt(n) + epsilon)) / (
        1 + learning_rate * weight_decay
    )


def adopt(x, g, s, t, learning_rate, beta_1, beta_2, epsilon):
    if t == 1:
        s["v"] = g * g
        return x
    bound = (t - 1) ** 0.25
    m = keep(s, "m", 0.0, beta_1, np.clip(g / np.maximum(np.sqrt(s["v"]), epsilon), -bound, bound))
    keep(s, "v", None, beta_2, g * g)
    return x - learning_rate * m


def careful(x, g, step, decay, cautious, cautious_weight_decay):
    """Takes a step whose parts may be left out: steps up the gradient, decay against a step."""
    if cautious:
        mask = step * g > 0
        step = step * mask / max(mask.mean(), 1e-3)
    if cautious_weight_decay:
        decay = decay * (step * x >= 0)
    return x - decay * x - step


def adamw(
    x,
    g,
    s,
    t,
    learning_rate,
    beta_1,
    beta_2,
    epsilon,
    weight_decay=0.0,
    cautious=False,
    cautious_weight_decay=False,
):
    """With epsilon beside the root of a variance that is not corrected, as in Adam's paper."""
    m, v = keep(s, "m", 0.0, beta_1, g), keep(s, "v", 0.0, beta_2, g * g)
    rate = learning_rate * math.sqrt(1 - beta_2**t) / (1 - beta_1**t)
    step = rate * m / (np.sqrt(v) + epsilon)
    return careful(x, g, step, learning_rate * weight_decay, cautious, cautious_weight_decay)


def lion(
    x,
    g,
    s,
    t,
    learning_rate,
    beta_1,
    beta_2,
    weight_decay,
    cautious=False,
    cautious_weight_decay=False,
):
    step = learning_rate * np.sign(beta_1 * s.get("m", 0.0) + (1 - beta_1) * g)
    keep(s, "m", 0.0, beta_2, g)
    return careful(x, g, step, learning_rate * weight_decay, cautious, cautious_weight_decay)


def yogi(x, g, s, t, learning_rate, beta_1, beta_2, epsilon, initial_accumulator_value):
    m, v = keep(s, "m", 0.0, beta_1, g), s.get("v", initial_accumulator_value)
    v = s["v"] = v - (1 - beta_2) * np.sign(v - g * g) * g * g
    return x - learning_rate * math.sqrt(1 - beta_2**t) / (1 - beta_1**t) * m / (
        np.sqrt(v) + epsilon
    )


# --- norms ----------------------------------------------------------------------------------------


def lars(
    x,
    g,
    s,
    t,
    learning_rate,
    momentum,
    trust_coefficient=0.001,
    epsilon=0.0,
    weight_decay=0.0,
    nesterov=False,
):
    u = learning_rate * g
    if x.ndim > 1:
        size = np.linalg.norm(x)
        ratio = size / (np.linalg.norm(g) + weight_decay * size + epsilon)
        u = learning_rate * trust_coefficient * ratio * (g + weight_decay * x)
    m = s["m"] = momentum * s.get("m", 0.0) + u
    return x - (momentum * m + u if nesterov else m)


def novograd(
    x, g, s, t, learning_rate, beta_1, beta_2, epsilon, weight_decay, grad_averaging=False
):
    v = s["v"] = (g * g).sum() if t == 1 else beta_2 * s["v"] + (1 - beta_2) * (g * g).sum()
    u = g / (math.sqrt(v) + epsilon) + weight_decay * x
    m = s["m"] = beta_1 * s.get("m", 0.0) + (1 - beta_1 if grad_averaging else 1) * u
    return x - learning_rate * m


def conditional_gradient(x, g, s, t, learning_rate, lambda_, epsilon, ord="fro"):
    if ord == "nuclear":
        left, _, right = np.linalg.svd(np.atleast_2d(g))
        extreme = np.outer(left[:, 0], right[0]).reshape(g.shape)
    else:
        extreme = g / (np.linalg.norm(g) + epsilon)
    return learning_rate * x - (1 - learning_rate) * lambda_ * extreme


# --- others ---------------------------------------------------------------------------------------


def cocob(x, g, s, t, alpha):
    first = s.setdefault("first", x)
    largest = s["largest"] = np.maximum(s.get("largest", 1e-8), abs(g))
    total = s["total"] = s.get("total", 0.0) + abs(g)
    reward = s["reward"] = np.maximum(s.get("reward", 0.0) - g * (x - first), 0)
    bet = s["bet"] = s.get("bet", 0.0) - g
    share = bet / (largest * np.maximum(total + largest, alpha * largest))
    return first + share * (largest + reward)


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
    total = s["total"] = s.get("total", initial_accumulator_value) + g * g
    rate = learning_rate / np.sqrt(total)
    x = x - rate * g
    x = np.sign(x) * np.maximum(abs(x) - rate * l1_regularization_strength, 0)
    return x / (1 + rate * l2_regularization_strength)


def sgd(x, g, s, t, learning_rate, momentum=0.0):
    m = s["m"] = momentum * s.get("m", 0.0) + g
    return x - learning_rate * m


def inner(x, g, s, t, inner_optimizer):
    equation = EQUATIONS[inner_optimizer["optimizer"]]
    return equation(x, g, s, t, **inner_optimizer["arguments"])


def lookahead(x, g, s, t, inner_optimizer, sync_period, slow_step_size):
    slow = s.setdefault("slow", x)
    x = inner(x, g, s, t, inner_optimizer)
    if t % sync_period == 0:
        x = s["slow"] = slow + slow_step_size * (x - slow)
    return x


def swa(x, g, s, t, inner_optimizer, start_averaging, average_period):
    x = inner(x, g, s, t, inner_optimizer)
    after = t - 1 - start_averaging
    if after >= 0 and after % average_period == 0:
        s.setdefault("snapshots", []).append(x)
    s["evaluated"] = np.mean(s["snapshots"], 0) if "snapshots" in s else np.full_like(x, np.nan)
    return x


EQUATIONS = {
    "ADOPT": adopt,
    "AdEMAMix": ademamix,
    "AdaBelief": adabelief,
    "Adam": adamw,
    "AdamW": adamw,
    "Adan": adan,
    "COCOB": cocob,
    "ConditionalGradient": conditional_gradient,
    "LARS": lars,
    "Lion": lion,
    "Lookahead": lookahead,
    "Muon": muon,
    "NAdamW": nadamw,
    "NovoGrad": novograd,
    "ProximalAdagrad": proximal_adagrad,
    "RectifiedAdam": rectified,
    "SGD": sgd,
    "SWA": swa,
    "ScheduleFreeAdamW": schedule_free_adamw,
    "ScheduleFreeRAdam": schedule_free_radam,
    "ScheduleFreeSGD": schedule_free_sgd,
    "Yogi": yogi,
}
