"""Muon: momentum whose steps are orthogonal matrices, with AdamW for all that is no matrix."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfopt._engine.members import Members
from tfopt._libraries.tf_variables import variable_path
from tfopt._values.initial_values import zeros
from tfopt.hyper import Hyper, Static
from tfopt.optimizer import Optimizer
from tfopt.optimizers._newton_schulz import (
    POLAR_EXPRESS,
    POLAR_EXPRESS_MARGIN,
    as_matrix,
    larger,
    orthogonal,
    sides,
)

NO_MATRICES = ("depthwise", r"\b(bias|gamma|beta)$")  # whatever their shape
TINY = 1e-10  # for outputs of which nothing is known yet


class Muon(Optimizer):
    r"""Muon: momentum, orthogonalized by Newton-Schulz iterations.

    Of a hidden matrix with $n$ inputs and $k$ outputs

    $$M_t = \mu M_{t-1} + G_t, \qquad
      X_t = (1 - \alpha \lambda) X_{t-1} - \alpha \, \rho \sqrt{\max(n, k)} \;
      \operatorname{NS}(G_t + \mu M_t)$$

    $\operatorname{NS}(U)$ is close to the nearest orthogonal matrix. It begins with
    $U / (\|U\|_F + 10^{-7})$ and repeats $U \leftarrow a U + (b A + c A^2) U$ with $A = U U^\top$.
    With $\rho = 0.2$ a step is about as large as one of AdamW, so AdamW's learning rate and weight
    decay can be kept. With `rms_rate=None` the factor is the original one,
    $\sqrt{\max(1, k/n)}$. Without Nesterov momentum NS gets $M_t$.

    What is no hidden matrix is trained by AdamW's equations with the `adam_` numbers. Variables
    have one of three roles, which `tfopt.inspect.summary` shows and the keyword `roles` changes:

    - `matrix`: variables of two or more dimensions. A convolution kernel is a matrix with one
      column for each filter.
    - `projection`: kernels of three dimensions named "query", "key" or "value", as in Keras'
      `MultiHeadAttention`. They are matrices with one row for each input.
    - `adamw`: vectors and scalars, embeddings, biases of any shape, depthwise kernels as far as
      name or shape show them, and what `exclude_layers` finds.

    **Name your output layer**, since the authors train it by AdamW and nothing tells it apart:
    `roles={"head": "adamw"}`, which warns if it finds nothing, or `exclude_layers=["head"]`.

    When to use:
        Transformers and other models of large hidden matrices, if you have time to try: it learns
        in fewer steps, and a step costs a few matrix products more. Begin at AdamW's learning rate
        and weight decay, with the output layer in `exclude_layers`.

    Args:
        learning_rate: the step size $\alpha$, at least 0.
        adam_beta_1: the decay rate of AdamW's first moment, in [0, 1).
        adam_beta_2: the decay rate of AdamW's second moment, in [0, 1).
        adam_weight_decay: $\lambda$ of what AdamW trains, at least 0; None for that of all.
        epsilon: the small number in AdamW's denominator, at least 0.
        weight_decay: the decay rate $\lambda$, multiplied by the learning rate; at least 0.
        exclude_layers: regular expressions that are searched for in variables' paths; what they
            find has the role `adamw`. `roles` comes first.
        exclude_embeddings: whether variables with "embedding" in their path have the role `adamw`.
        muon_a: the coefficient a of the iteration.
        muon_b: the coefficient b.
        muon_c: the coefficient c.
        adam_lr_ratio: AdamW's learning rate as a part of $\alpha$, at least 0.
        momentum: the part $\mu$ of the momentum that is kept, in [0, 1).
        ns_steps: how many iterations, at least 1.
        nesterov: whether to use Nesterov momentum.
        rms_rate: the size $\rho$ of a step, at least 0; None for the original factor.
        polar_express: whether to iterate with the coefficients of Polar Express, which come closer
            to an orthogonal matrix. It has at most five iterations, and its own coefficients.
        normuon_beta: the decay rate of NorMuon, in [0, 1): each output's part of a step is divided
            by the root of its mean square, averaged over steps; the norm of the step stays. The
            authors take 0.95. None is off.
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`.

    Slots:
        `momentum` of matrices, and `output_norms` with NorMuon, one number for each output; `m` and
        `v` of the rest.

    Sparse gradients:
        Whole for matrices, exact for what AdamW trains: embeddings. `lazy=True` updates only the
        rows in the batch of these.

    Other libraries:
        Keras 3: kernels of convolutions and attention are trained by AdamW; with `rms_rate=None`
            there is no factor.
        tf-keras: has none.
        PyTorch: takes matrices only; `weight_decay` is 0.1 by default.
        Optax: `optax.contrib.muon` corrects the momentum for bias.

    Raises:
        ValueError: if a number is out of its range; if `polar_express` is True and coefficients are
            given or there are more than five iterations; or if there is an `adam_weight_decay`
            without `weight_decay`.
        TypeError: if `exclude_layers` is not a list of strings.

    >>> x = tf.Variable(tf.eye(2), name="kernel")
    >>> opt = tfopt.Muon(0.5, weight_decay=None, rms_rate=None, ns_steps=10)
    >>> _ = opt.apply_gradients([(tf.constant([[0.0, 2.0], [-2.0, 0.0]]), x)])
    >>> bool(abs(x[0, 0] - 1.0) < 1e-3), bool(abs(x[0, 1] + 0.5) < 0.2)
    (True, True)

    Sources: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024); Liu et
    al., "Muon is scalable for LLM training" (2025) for $\rho$ and weight decay; Li et al.,
    "NorMuon: making Muon more efficient and scalable" (2025). Names and defaults are those of
    Keras 3, which trains kernels of convolutions and attention by AdamW, and with
    `rms_rate=None` has no factor. PyTorch's Muon takes matrices only. Optax corrects the momentum
    for bias.
    """

    learning_rate = Hyper(1e-3, low=0)
    adam_beta_1 = Hyper(0.9, low=0, below=1)
    adam_beta_2 = Hyper(0.999, low=0, below=1)
    adam_weight_decay = Hyper(None, low=0, off=None, tracked=False)
    epsilon = Hyper(1e-7, low=0, tracked=False)
    weight_decay = Hyper(0.004, low=0, off=None, tracked=False)
    exclude_layers = Static(None, annotation="Sequence[str] | None")
    exclude_embeddings = Static(True)
    muon_a = Static(3.4445)
    muon_b = Static(-4.7750)
    muon_c = Static(2.0315)
    adam_lr_ratio = Hyper(1.0, low=0, tracked=False)
    momentum = Hyper(0.95, low=0, below=1)
    ns_steps = Static(5, whole=True, low=1)
    nesterov = Static(True)
    rms_rate = Hyper(0.2, low=0, off=None, tracked=False)
    polar_express = Static(False)
    normuon_beta = Hyper(None, low=0, below=1, off=None)

    roles = ("matrix", "projection", "adamw")
    sparse = {"matrix": "whole", "projection": "whole", "adamw": "exact"}
    can_be_cautious = True
    pattern_keywords = ("exclude_layers",)
    _positional = (
        "learning_rate",
        "adam_beta_1",
        "adam_beta_2",
        "adam_weight_decay",
        "epsilon",
        "weight_decay",
        "exclude_layers",
        "muon_a",
        "muon_b",
        "muon_c",
        "adam_lr_ratio",
        "momentum",
        "ns_steps",
        "nesterov",
        "rms_rate",
        "polar_express",
        "normuon_beta",
    )

    def _formula_differs_in_keras(self) -> str:
        return "" if self.uses("rms_rate") else "`rms_rate=None` is no factor at all"

    def check_arguments(self) -> None:
        names = self.exclude_layers
        if isinstance(names, str) or not all(isinstance(name, str) for name in names or ()):
            raise TypeError(
                f"`exclude_layers` must be a list of regular expressions or None; got {names!r}."
            )
        if self.uses("adam_weight_decay") and not self.uses("weight_decay"):
            raise ValueError(
                "`weight_decay` must be a number, which may be 0, for `adam_weight_decay` to have "
                "an effect; got None."
            )
        Members("exclude_layers", names or ())  # raises for what is no regular expression
        numbers = {name for rule in self._engine.groups.rules for name in rule.names}
        if self.uses("adam_weight_decay") and numbers & {"weight_decay", "weight_decay_factor"}:
            raise ValueError(
                "`groups` must not have a `weight_decay` next to `adam_weight_decay`, which would "
                "overrule it: leave that out, or give `adam_weight_decay` in `groups`; got "
                f"{self._serialize_hyperparameter('adam_weight_decay')!r}."
            )
        if not self.polar_express:
            return
        for name in ("muon_a", "muon_b", "muon_c"):
            if getattr(self, name) != getattr(type(self), name).default:
                raise ValueError(
                    f"`{name}` must not be given with `polar_express`, which has coefficients of "
                    f"its own; got {getattr(self, name)!r}."
                )
        if self.ns_steps > len(POLAR_EXPRESS):
            raise ValueError(
                f"`ns_steps` must be <= {len(POLAR_EXPRESS)} with `polar_express`; "
                f"got {self.ns_steps}."
            )

    def choose_role(self, x: Any) -> str:
        path, rank = variable_path(x), len(x.shape)
        by_adamw = [*(self.exclude_layers or ()), *NO_MATRICES]
        if self.exclude_embeddings:
            by_adamw.append("(?i)embedding")
        if rank < 2 or (rank > 2 and x.shape[-1] == 1):
            return "adamw"
        if any(re.search(pattern, path) for pattern in by_adamw):
            return "adamw"
        is_projection = rank == 3 and re.search(r"\b(query|key|value)\b", path)
        return "projection" if is_projection else "matrix"

    def slots(self, x: Any) -> dict[str, Any]:
        role = self.role_of(x)
        if role == "adamw":
            return {"m": zeros(x), "v": zeros(x)}
        slots = {"momentum": zeros(x)}
        if self.uses("normuon_beta"):
            slots["output_norms"] = zeros(
                x, shape=[math.prod(x.shape[1:] if role == "projection" else x.shape[-1:])]
            )
        return slots

    def begin(self, h: Any, state: Any) -> None:
        if h.role != "adamw":
            return
        beta_1_power, beta_2_power = h.adam_beta_1**h.t, h.adam_beta_2**h.t
        h.alpha = h.learning_rate * h.adam_lr_ratio
        h.alpha = h.alpha * tf.sqrt(1 - beta_2_power) / (1 - beta_1_power)
        if self.uses("adam_weight_decay"):
            h.weight_decay = h.adam_weight_decay

    def newton_schulz(self) -> tuple[Sequence[tuple[float, float, float]], float]:
        if self.polar_express:
            return POLAR_EXPRESS[: self.ns_steps], POLAR_EXPRESS_MARGIN
        return [(self.muon_a, self.muon_b, self.muon_c)] * self.ns_steps, 1.0

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        if h.role == "adamw":
            s.m = h.adam_beta_1 * s.m + (1 - h.adam_beta_1) * g
            s.v = h.adam_beta_2 * s.v + (1 - h.adam_beta_2) * g * g
            return x - h.alpha * s.m / (tf.sqrt(s.v) + h.epsilon)
        s.momentum = h.momentum * s.momentum + g
        direction = g + h.momentum * s.momentum if self.nesterov else s.momentum
        o = orthogonal(as_matrix(direction, h.role), *self.newton_schulz())
        inputs, outputs = sides(o)
        if self.uses("rms_rate"):
            size = h.rms_rate * larger(inputs, outputs) ** 0.5
        else:
            size = larger(1.0, outputs / larger(1, inputs)) ** 0.5
        if self.uses("normuon_beta"):
            norm, mean_square = tf.norm(o), tf.reduce_mean(o * o, axis=0)
            s.output_norms = h.normuon_beta * s.output_norms + (1 - h.normuon_beta) * mean_square
            o = o / (tf.sqrt(s.output_norms) + TINY)
            size = size * norm / (tf.norm(o) + TINY)
        return x - h.learning_rate * size * tf.reshape(o, tf.shape(x))
