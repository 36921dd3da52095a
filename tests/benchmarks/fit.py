"""`model.fit` of a small transformer and of smaller models, milliseconds a step."""

import functools
import time

import keras
import numpy as np
import tf_keras
from measure import Contender, in_turn, row
from suite import Case

import tfopt

VOCABULARY, WIDTH, LENGTH, CLASSES, BATCH = 20_000, 128, 32, 10, 32
MOST_STEPS = 100
CHUNK = 0.3  # seconds: long enough that some steps follow each other
SETUPS = {
    "fit in Keras 3": (
        {"tfopt": tfopt.Adam, "Keras 3": keras.optimizers.Adam},
        keras,
        {},
    ),
    "fit in Keras 3, jit_compile=False": (
        {"tfopt": tfopt.Adam, "Keras 3": keras.optimizers.Adam},
        keras,
        {"jit_compile": False},
    ),
    "fit in tf-keras": (
        {
            "tfopt": tfopt.Adam,
            "legacy": tf_keras.optimizers.legacy.Adam,
            "tf-keras": tf_keras.optimizers.Adam,
        },
        tf_keras,
        {},
    ),
}
# Where a step of the model is as short as the optimizer's, in CPU time: of all threads together.
SMALL = ("SGD", "RMSprop", "Adam", "Nadam", "Lion")


def cases():
    for title in SETUPS:
        yield Case((title,), functools.partial(_compare, title))
    for name in SMALL:
        for model in MODELS:
            title = f"{name}, fit of {model} in Keras 3, CPU time"
            yield Case((title,), functools.partial(_compare_small, title, name, model))


def _compare(title, settings):
    optimizers, library, arguments = SETUPS[title]
    fits = {name: Fit(cls(1e-3), library, arguments) for name, cls in optimizers.items()}
    return [row("fit", title, in_turn(fits, settings.seconds, CHUNK))]


def _compare_small(title, name, model, settings):
    peers = {"tfopt": tfopt, "Keras 3": keras.optimizers}
    fits = {
        peer: Fit(getattr(namespace, name)(1e-3), keras, {}, MODELS[model], time.process_time)
        for peer, namespace in peers.items()
    }
    return [row("fit", title, in_turn(fits, settings.seconds, CHUNK))]


class Fit(Contender):
    """A model and synthetic data."""

    def __init__(self, optimizer, library, arguments, model=None, now=time.perf_counter):
        library.utils.set_random_seed(0)
        self.model = (model or _transformer)(library.layers, library.Model)
        loss = library.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.model.compile(optimizer, loss, **arguments)
        self.marks = []
        self.callback = library.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: self.marks.append(now())
        )
        random = np.random.default_rng(0)
        self.x = random.integers(0, VOCABULARY, (MOST_STEPS * BATCH, LENGTH), "int32")
        self.y = random.integers(0, CLASSES, MOST_STEPS * BATCH, "int32")

    def clock(self, count):
        """From the end of one step to the end of another: what `fit` does before is not timed."""
        examples = min(count + 1, MOST_STEPS) * BATCH
        self.marks.clear()
        self.model.fit(
            self.x[:examples],
            self.y[:examples],
            batch_size=BATCH,
            verbose=0,
            callbacks=[self.callback],
        )
        return (self.marks[-1] - self.marks[0]) / (len(self.marks) - 1)


def _transformer(layers, model):
    tokens = layers.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(VOCABULARY, WIDTH)(tokens)
    for _ in range(2):
        attended = layers.MultiHeadAttention(4, WIDTH // 4)(x, x)
        x = layers.LayerNormalization()(layers.add([x, attended]))
        wide = layers.Dense(4 * WIDTH, activation="relu")(x)
        x = layers.LayerNormalization()(layers.add([x, layers.Dense(WIDTH)(wide)]))
    return model(tokens, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(x)))


def _mlp(layers, model):
    tokens = layers.Input((LENGTH,), dtype="int32")
    x = layers.Rescaling(1 / VOCABULARY)(tokens)
    for _ in range(2):
        x = layers.Dense(64, activation="relu")(x)
    return model(tokens, layers.Dense(CLASSES)(x))


def _embedding(layers, model):
    tokens = layers.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(VOCABULARY, 8)(tokens)
    x = layers.Dense(32, activation="relu")(layers.GlobalAveragePooling1D()(x))
    return model(tokens, layers.Dense(CLASSES)(x))


MODELS = {"an MLP": _mlp, "an embedding": _embedding}
