"""AdamW: Adam with decoupled weight decay."""

from __future__ import annotations

from tfopt.hyper import Hyper
from tfopt.optimizers.adam import Adam


class AdamW(Adam):
    r"""Adam with decoupled weight decay.

    $$x_{t-1} \leftarrow x_{t-1} - \alpha \lambda x_{t-1}$$

    and then Adam's step. The decay is no part of the gradient, so the moments do not see it.

    Args:
        learning_rate: the step size $\alpha$, at least 0.
        weight_decay: the decay $\lambda$ a step, in units of the learning rate, at least 0.
        beta_1: how slowly the first moment forgets, in [0, 1).
        beta_2: how slowly the second moment forgets, in [0, 1).
        epsilon: the small number in the denominator, at least 0.
        amsgrad: whether to divide by the largest second moment so far.
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`. With
            `exclude_from_weight_decay` biases and norms can be left out.

    Slots:
        `m` and `v`, and `vhat` with AMSGrad, of the variable's shape.

    Sparse gradients:
        Exact: the result of the dense gradient, every row decays. With `lazy=True` only the
        rows that have a gradient decay and move.

    Raises:
        ValueError: if a number is out of its range.

    >>> x = tf.Variable(1.0)
    >>> opt = tfopt.AdamW(0.1, weight_decay=0.5)
    >>> _ = opt.apply_gradients([(tf.constant(0.0), x)])
    >>> float(x)
    0.95

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization" (2019). Their
    schedule multiplier is inside the learning rate here, as in Keras and PyTorch.
    """

    weight_decay = Hyper(0.004, low=0, off=None, tracked=False)

    _positional = ("learning_rate", "weight_decay", "beta_1", "beta_2", "epsilon", "amsgrad")
