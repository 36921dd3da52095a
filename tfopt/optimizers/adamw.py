"""AdamW: Adam with decoupled weight decay."""

from __future__ import annotations

from tfopt.hyper import Hyper
from tfopt.optimizers.adam import Adam


class AdamW(Adam):
    r"""AdamW: Adam with decoupled weight decay.

    $$x_{t-1} \leftarrow x_{t-1} - \alpha \lambda x_{t-1}$$

    and then Adam's step. The decay is not part of the gradient, so the moments ignore it.

    When to use:
        Transformers, and every model that you regularize: the decay acts on all weights alike. Add
        a warmup and a cosine decay of the learning rate, and `global_clipnorm=1.0`. Begin at 0.001,
        the default.

    Args:
        learning_rate: the step size $\alpha$, at least 0.
        weight_decay: the decay rate $\lambda$, multiplied by the learning rate; at least 0.
        beta_1: the decay rate $\beta_1$ of the first moment, in [0, 1).
        beta_2: the decay rate $\beta_2$ of the second moment, in [0, 1).
        epsilon: the small number $\epsilon$ in the denominator, at least 0.
        amsgrad: whether to divide by the root of the largest second moment so far.
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`. Use
            `exclude_from_weight_decay` for biases and normalization layers.

    Slots:
        `m` and `v`, and `vhat` with AMSGrad, of the variable's shape.

    Sparse gradients:
        Exact: the result is that of the dense gradient, so every row decays. With `lazy=True`
        only the rows in the batch decay and are updated.

    Other libraries:
        Keras 3: the same for dense gradients; the parts of a repeated row are squared before they
            are summed.
        tf-keras: the same.
        PyTorch: $\epsilon$, 1e-8 by default, is added after the bias correction; `weight_decay` is
            0.01 by default.
        Optax: $\epsilon$, 1e-8 by default, is added after the bias correction; `weight_decay` is
            1e-4 by default; `mask` excludes weights.

    Raises:
        ValueError: if a number is out of its range.

    >>> x = tf.Variable(1.0)
    >>> opt = tfopt.AdamW(0.1, weight_decay=0.5)
    >>> _ = opt.apply_gradients([(tf.constant(0.0), x)])
    >>> float(x)
    0.95

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization" (2019). The
    paper's schedule multiplier is part of the learning rate here, as in Keras and PyTorch.
    """

    weight_decay = Hyper(0.004, low=0, off=None, tracked=False)

    _positional = ("learning_rate", "weight_decay", "beta_1", "beta_2", "epsilon", "amsgrad")
