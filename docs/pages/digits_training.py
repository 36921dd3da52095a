"""Training on the digits of `tfopt compare`, by which `record_curves.py` makes the curves."""

import contextlib

import keras
import numpy as np
import tensorflow as tf

import tfopt.compare
from pages import examples

BATCH, EPOCHS = 32, 6
POINT = 9  # steps whose mean loss is one point of a curve; an epoch is five of them


class Training:
    """A model and an optimizer, which begin anew at each run: traced once for all rates."""

    def __init__(self, cls, **arguments):
        keras.backend.clear_session()  # for the names of the layers
        keras.utils.set_random_seed(0)
        self.optimizer = examples.make(cls, **examples.ARGUMENTS.get(cls.__name__, {}))
        self.model, train, test = tfopt.compare.digits(self.optimizer)
        self.train, self.test = map(_tensors, (train, test))
        self.optimizer.build(self.model.trainable_variables)
        self.variables = [*self.model.variables, self.optimizer.iterations, *self.optimizer.weights]
        self.first_values = [variable.numpy() for variable in self.variables]
        self.steps = tf.function(self._steps)

    def run(self, rate, epochs=EPOCHS):
        """Trains from the first weights; returns the points of the curve, and the accuracy."""
        for variable, value in zip(self.variables, self.first_values, strict=True):
            variable.assign(value)
        getattr(self.optimizer, "inner_optimizer", self.optimizer).learning_rate = rate
        shuffled = np.random.default_rng(0)
        points = []
        for _ in range(epochs):
            order = shuffled.permutation(len(self.train[0]))
            losses = self.steps(tf.constant(order.reshape(-1, BATCH))).numpy()
            points.extend(losses.reshape(-1, POINT).mean(axis=1).tolist())
        return points, self._accuracy()

    def _steps(self, batches):
        losses = tf.TensorArray(tf.float32, len(batches))
        for number in tf.range(len(batches)):
            x, y = (tf.gather(part, batches[number]) for part in self.train)
            with tf.GradientTape() as tape:
                loss = self.model.loss(y, self.model(x, training=True))
            variables = self.model.trainable_variables
            gradients = tape.gradient(loss, [variable.value for variable in variables])
            self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
            losses = losses.write(number, loss)
        return losses.stack()

    def _accuracy(self):
        x, y = self.test
        averages = self.optimizer.averages_itself
        with self.optimizer.evaluation_weights() if averages else contextlib.nullcontext():
            guesses = tf.argmax(self.model(x), axis=1, output_type=tf.int32)
        return float(tf.reduce_mean(tf.cast(guesses == y, tf.float32)))


def _tensors(data):
    return tf.constant(data[0]), tf.constant(data[1], tf.int32)
