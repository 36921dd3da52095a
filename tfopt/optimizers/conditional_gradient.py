"""ConditionalGradient (Frank-Wolfe): training inside of a ball, without a projection."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt.hyper import Alias, Hyper, Static
from tfopt.optimizer import Optimizer

SQUARINGS = 24  # enough for singular values that differ by a part in ten million


class ConditionalGradient(Optimizer):
    r"""ConditionalGradient, also known as Frank-Wolfe: each variable stays inside of a ball.

    $$x_t = \alpha x_{t-1} + (1-\alpha) s_t$$

    where $s_t$ is the point of the ball $\|s\| \le \lambda$ that lies farthest along $-g_t$. With
    the Frobenius norm, which is the Euclidean norm of all numbers,

    $$s_t = -\lambda \frac{g_t}{\|g_t\|_F + \epsilon}$$

    and with the nuclear norm, which makes matrices of low rank, $s_t = -\lambda u v^\top$ of the
    largest singular value of $g_t$.

    If a variable begins inside of the ball, it never leaves it. If it begins outside, it comes
    closer in each step.

    When to use:
        Weights that must stay in a ball of radius `lambda_`, or become matrices of low rank: no
        projection is needed. Begin at 0.99 and go towards 1 for smaller steps: the learning rate is
        the part of the variable that is kept. The default of TensorFlow Addons, 0.1, replaces most
        of a variable in each step.

    Args:
        learning_rate: the part $\alpha$ of the variable that is kept, in [0, 1]. A large one makes
            small steps, unlike in other optimizers.
        lambda_: the radius $\lambda$ of the ball, at least 0.
        epsilon: the small number $\epsilon$ in the denominator, at least 0.
        ord: "fro" for the Frobenius norm, or "nuclear". For the nuclear norm a tensor of more than
            two dimensions is a matrix with one column for each index of its last axis. For vectors
            and scalars both norms are the same.
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`. `weight_decay` raises:
            the ball is its place.

    Slots:
        None.

    Sparse gradients:
        Whole: the gradient is made dense first. `lazy=True` raises, because all rows move.

    Other libraries:
        Keras 3: has none.
        tf-keras: has none; TensorFlow Addons' has the same formula.
        PyTorch: has none.
        Optax: has none.

    Raises:
        ValueError: if a number is out of its range, or `lazy` is True.

    >>> x = tf.Variable([1.0, 0.0])
    >>> opt = tfopt.ConditionalGradient(0.5, lambda_=2.0, epsilon=0.0)
    >>> _ = opt.apply_gradients([(tf.constant([0.0, -3.0]), x)])
    >>> x.numpy()
    array([0.5, 1. ], dtype=float32)

    Sources: Frank and Wolfe, "An algorithm for quadratic programming" (1956); Ravi, Dinh, Lokhande
    and Singh, "Constrained deep learning using conditional gradient and applications in computer
    vision" (2018). Names and defaults are those of TensorFlow Addons.
    """

    learning_rate = Hyper(0.1, low=0, high=1)
    lambda_ = Hyper(0.01, low=0)
    epsilon = Hyper(1e-7, low=0, tracked=False)
    ord = Static("fro", choices=("fro", "nuclear"))
    lambda_value = Alias("lambda_")

    sparse = "whole"
    decays = None

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        if self.ord == "nuclear" and len(g.shape) > 1:
            toward = tf.reshape(largest_part(tf.reshape(g, [-1, g.shape[-1]])), tf.shape(g))
        else:
            toward = g / (tf.norm(g) + h.epsilon)
        return h.learning_rate * x - (1 - h.learning_rate) * h.lambda_ * toward


def largest_part(matrix: Any) -> Any:
    r"""Returns $u v^\top$ of the largest singular value, or zeros for a matrix of zeros.

    The Gram matrix, squared again and again, becomes $v v^\top$: so there is no sign to choose, and
    XLA computes it as exactly as the rest, unlike a singular value decomposition.
    """
    is_wide = matrix.shape.is_fully_defined() and matrix.shape[0] < matrix.shape[1]
    a = tf.transpose(matrix) if is_wide else matrix
    a = tf.math.divide_no_nan(a, tf.reduce_max(tf.abs(a)))  # squares of tiny numbers are 0
    gram = _normalized(tf.matmul(a, a, transpose_a=True))
    for _ in range(SQUARINGS):
        gram = _normalized(tf.matmul(gram, gram))
    # If two singular values are equal, this is the mean of their parts.
    part = tf.math.divide_no_nan(_normalized(tf.matmul(a, gram)), tf.linalg.trace(gram))
    return tf.transpose(part) if is_wide else part


def _normalized(matrix: Any) -> Any:
    return tf.math.divide_no_nan(matrix, tf.norm(matrix))
