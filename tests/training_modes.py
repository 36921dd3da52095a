"""Training in three ways: op by op, in a `tf.function`, and on two replicas.

References are formulas in NumPy, of gradients whose sums over replicas are exact.
"""

import numpy as np
import tensorflow as tf
from training import value_of

SHAPES = [(5, 3), (4,), (4,)]
LARGE = (80, 64)  # of which XLA makes a function
DTYPES = {"kernel_3": "bfloat16"}  # by name; others are float32


class Mode:
    def __init__(self, name, strategy):
        self.name, self.strategy = name, strategy or tf.distribute.get_strategy()

    def start(self, shapes=SHAPES):
        """Variables: `bias_1` has one axis, `kernel_0` more."""
        with self.strategy.scope():
            return [
                tf.Variable(value, name=name, dtype=DTYPES.get(name, tf.float32))
                for name, value in first_values(shapes).items()
            ]

    def gradients(self, steps, shapes=SHAPES, seed=2):
        """For each step and variable those of all replicas, in numbers whose sums are exact."""
        random, count = np.random.default_rng(seed), self.strategy.num_replicas_in_sync
        return [[random.integers(-16, 17, (count, *s)) / 8 for s in shapes] for _ in range(steps)]

    def rows(self, steps, shape, seed=3):
        """The same for 4 rows of one variable, as (values, indices), which may be repeated."""
        random, count = np.random.default_rng(seed), self.strategy.num_replicas_in_sync
        values = random.integers(-16, 17, (steps, count, 4, *shape[1:])) / 8
        indices = random.integers(0, shape[0] - 1, (steps, count, 4))  # never the last one
        return [[pair] for pair in zip(values, indices, strict=True)]

    def trainer(self, optimizer, variables):
        return Trainer(self, optimizer, variables)

    def train(self, optimizer, steps, shapes=SHAPES):
        """The variables after these steps."""
        variables = self.start(shapes)
        self.trainer(optimizer, variables)(steps)
        return variables


class Trainer:
    """Calls the same step for each set of gradients, however often it is called itself."""

    def __init__(self, mode, optimizer, variables):
        self.optimizer, self.variables = optimizer, variables
        if mode.name == "eager":
            self.step = self._step
        elif mode.name == "graph":
            self.step = tf.function(self._step)
        else:
            self.step = tf.function(lambda grads: mode.strategy.run(self._step, args=(grads,)))

    def __call__(self, steps):
        for grads in steps:
            self.step(tf.nest.map_structure(tf.constant, grads))

    def _step(self, grads):
        place = tf.distribute.get_replica_context().replica_id_in_sync_group
        pairs = []
        for gradient, variable in zip(grads, self.variables, strict=True):
            parts = [part[place] for part in tf.nest.flatten(gradient)]
            values = tf.cast(parts[0], variable.dtype)
            if len(parts) == 2:
                shape = tf.constant(variable.shape.as_list(), tf.int64)
                values = tf.IndexedSlices(values, parts[1], shape)
            pairs.append((values, variable))
        self.optimizer.apply_gradients(pairs)


def first_values(shapes):
    random = np.random.default_rng(1)
    names = [f"{'bias' if len(shape) == 1 else 'kernel'}_{i}" for i, shape in enumerate(shapes)]
    return {name: random.integers(-8, 9, s) / 8 for name, s in zip(names, shapes, strict=True)}


def sums(steps):
    """The gradients as one replica would have them, step by step, for each variable."""
    return list(zip(*[[grads.sum(0) for grads in own] for own in steps], strict=True))


def assert_close(variables, expected, tolerance=1e-5):
    for variable, x in zip(variables, expected, strict=True):
        # In float64, as older NumPy cannot compare numbers of bfloat16.
        values = (np.asarray(numbers, "float64") for numbers in (value_of(variable), x))
        np.testing.assert_allclose(*values, tolerance, tolerance)


def names_of(weights):
    return [weight.name.split(":")[0] for weight in weights]


def adamw(x, gradients, rate=0.1, decay=0.0, coupled=0.0, stored=lambda values: values):
    """AdamW, whose moments are `stored` between two steps, with a decay that they see, too."""
    m, v = np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(gradients, 1):
        g = g + coupled * x
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        alpha = rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        x = x - rate * decay * x - alpha * m / (np.sqrt(v) + 1e-7)
        m, v = stored(m), stored(v)
    return x
