"""Lookahead: slow weights that follow the fast weights of another optimizer."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt import registry
from tfopt._values.initial_values import copy
from tfopt.hyper import Hyper, Static
from tfopt.wrappers.all_rows import AllRowsWrapper


class Lookahead(AllRowsWrapper):
    r"""Lookahead around any optimizer of tfopt: k steps forward, and a part of the way back.

    The inner optimizer moves the fast weights $x$. After every k steps the slow weights $\phi$
    move towards them, and the fast weights go on from there:

    $$\phi \leftarrow \phi + \alpha (x - \phi), \qquad x \leftarrow \phi$$

    The slots of the inner optimizer do not change then. Lookahead makes training less sensitive to
    the inner learning rate, and reduces the variance of the result.

    When to use:
        Results that vary from run to run: slow weights vary less than those of the inner optimizer
        alone. Keep the learning rate of the inner optimizer.

    Args:
        inner_optimizer: an optimizer of tfopt that has seen no variables, or an identifier for
            `tfopt.get`. See `Wrapper` for what it may have.
        sync_period: k, in steps, at least 1.
        slow_step_size: the part $\alpha$ of the way, in [0, 1].
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`.

    Slots:
        Those of the inner optimizer, and `slow`, of the variable's shape. Load weights before the
        first step: weights that you load later are drawn towards `slow`.

    Sparse gradients:
        Exact, or whole where the inner optimizer needs that: the result is that of the dense
        gradient, because all rows are synchronized. `lazy=True` raises.

    Other libraries:
        Keras 3: has none.
        tf-keras: has none; TensorFlow Addons' has the same formula.
        PyTorch: has none.
        Optax: `optax.lookahead` has the same formula, for pairs of fast and slow parameters that
            you keep.

    Raises:
        TypeError: if `inner_optimizer` is not an optimizer of tfopt.
        ValueError: if a number is out of its range, or the inner optimizer has `lazy` True.

    >>> x = tf.Variable(1.0)
    >>> opt = tfopt.Lookahead(tfopt.SGD(0.5), sync_period=2)
    >>> for _ in range(2):
    ...     _ = opt.apply_gradients([(1.0, x)])
    >>> float(x)
    0.5

    Source: Zhang, Lucas, Hinton and Ba, "Lookahead optimizer: k steps forward, 1 step back" (2019).
    Names and defaults are those of TensorFlow Addons.
    """

    sync_period = Static(6, whole=True, low=1)
    slow_step_size = Hyper(0.5, low=0, high=1)

    def slots(self, x: Any) -> dict[str, Any]:
        return {**super().slots(x), "slow": copy(x)}

    def begin(self, h: Any, state: Any) -> None:
        super().begin(h, state)
        h.syncs = tf.equal(h.t % self.sync_period, 0)

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        x = super().update(g, x, s, h)
        s.slow = tf.where(h.syncs, s.slow + h.slow_step_size * (x - s.slow), s.slow)
        return tf.where(h.syncs, s.slow, x)


registry.register(Lookahead)
