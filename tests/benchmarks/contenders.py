"""The same step by each library: tfopt, Keras 3, tf-keras and its legacy OptimizerV2."""

import contextlib
import functools
import importlib
import itertools
import math
import os

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from measure import Contender

import tfopt

# Where a library keeps its optimizers, and arguments that it gets on top.
LIBRARIES = {
    "tfopt": (tfopt, {}),
    "tfopt lazy": (tfopt, {"lazy": True}),
    "itself": (tfopt, {}),
    "Keras 3": (keras.optimizers, {}),
    "legacy": (tf_keras.optimizers.legacy, {}),
    "tf-keras": (tf_keras.optimizers, {}),
}
DENSE = ("tfopt", "Keras 3", "legacy", "tf-keras")
SPARSE = ("tfopt lazy", *DENSE)
CONTROL = ("tfopt", "Keras 3", "itself", "legacy")
if "TFOPT_BEFORE" in os.environ:  # another version, which `before.py` has renamed
    before = importlib.import_module(os.environ["TFOPT_BEFORE"])
    LIBRARIES |= {"before": (before, {}), "before lazy": (before, {"lazy": True})}
    DENSE, CONTROL = ("tfopt", "before"), ("tfopt", "before", "itself")
    SPARSE = ("tfopt lazy", "before lazy", *DENSE)

# An optimizer as the benchmarks call it: the names it may have, and its arguments.
OPTIMIZERS = {
    "SGD": (("SGD",), {}),
    "SGD momentum": (("SGD",), {"momentum": 0.9}),
    "RMSprop": (("RMSprop",), {}),
    "Adam": (("Adam",), {}),
    "AdamW": (("AdamW",), {"weight_decay": 0.004}),
    "Adadelta": (("Adadelta",), {}),
    "Adagrad": (("Adagrad",), {}),
    "Adamax": (("Adamax",), {}),
    "Nadam": (("Nadam",), {}),
    "Ftrl": (("Ftrl",), {}),
    "Lion": (("Lion",), {}),
    "LAMB": (("LAMB", "Lamb"), {}),
    "Adafactor": (("Adafactor",), {}),
    "Muon": (("Muon",), {}),
    "ScheduleFreeAdamW": (("ScheduleFreeAdamW",), {}),
}
# Those that neither Keras nor tf-keras has.
ALONE = (
    "ScheduleFreeSGD",
    "NAdamW",
    "AdEMAMix",
    "RectifiedAdam",
    "AdaBelief",
    "LARS",
    "Adan",
    "ADOPT",
    "NovoGrad",
    "Yogi",
    "ProximalAdagrad",
    "ConditionalGradient",
)
OPTIMIZERS |= {name: ((name,), {}) for name in ALONE}


def make_optimizer(library, optimizer, **arguments):
    """None where the library has no such optimizer, or not with these arguments."""
    namespace, extra = LIBRARIES[library]
    names, own = OPTIMIZERS[optimizer]
    cls = next((getattr(namespace, name) for name in names if hasattr(namespace, name)), None)
    if cls is None:
        return None
    try:
        return cls(**{"learning_rate": 1e-3, **own, **arguments, **extra})
    except (NotImplementedError, TypeError, ValueError):
        return None


def make_all(libraries, optimizer, arguments, values, batches, mode, strategy=None, repeats=1):
    """The contenders of these libraries, ready for their first step; some may not exist."""
    made = {}
    with strategy.scope() if strategy else contextlib.nullcontext():
        for library in libraries:
            instance = make_optimizer(library, optimizer, **arguments)
            if instance is not None:
                made[library] = Step(library, instance, values, batches, mode, strategy, repeats)
                made[library].build()
    return made


class Step(Contender):
    """One library's optimizer, on variables of its own.

    A batch that is alone is captured by the function: Python takes 20 us for each argument.
    """

    def __init__(self, library, optimizer, values, batches, mode, strategy=None, repeats=1):
        variable = keras.Variable if library == "Keras 3" else tf.Variable
        self.library, self.optimizer, self.strategy = library, optimizer, strategy
        self.variables = [variable(value) for value in values]
        self.repeats = repeats
        calls = [()] if len(batches) == 1 else [(batch,) for batch in batches]
        self.calls = itertools.cycle(calls)
        # A partial, since TensorFlow counts retraces by code object.
        apply = functools.partial(self._call, *(batches if len(batches) == 1 else ()))
        self.function = tf.function(apply) if mode == "graph" else apply

    def build(self):
        if self.library != "legacy":  # which has its slots made by the first step
            self.optimizer.build(self.variables)

    def trace(self):
        self.function.get_concrete_function(*next(self.calls))

    def step(self):
        self.function(*next(self.calls))

    def clock(self, count):
        return super().clock(count) / self.repeats

    def _call(self, gradients):
        for _ in range(self.repeats):
            if self.strategy is None:
                self._apply(gradients)
            else:
                self.strategy.run(self._apply_in_replica, args=(gradients,))

    def _apply(self, gradients):
        self.optimizer.apply_gradients(zip(gradients, self.variables, strict=True))

    def _apply_in_replica(self, gradients):
        # To sum gradients TensorFlow asks for their devices; arguments have none.
        self._apply([tf.identity(gradient) for gradient in gradients])

    def slot_bytes(self):
        """What the optimizer's own variables take, but for scalars."""
        variables = self.optimizer.variables
        return sum(_bytes(v) for v in (variables() if callable(variables) else variables))

    def step_bytes(self):
        """What a step must move: gradients read; variables and slots read and written."""
        return 3 * sum(map(_bytes, self.variables)) + 2 * self.slot_bytes()

    def first_variable(self):
        return np.asarray(self.variables[0])


def _bytes(variable):
    shape = tuple(variable.shape)
    return math.prod(shape) * tf.as_dtype(variable.dtype).size if shape else 0
