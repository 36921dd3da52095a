"""The architecture's proof: each extension is one class here, and no edit of the library."""

import numpy as np
import tensorflow as tf

import tfopt
from tfopt._engine import update_paths
from tfopt._engine.policy import Policy
from tfopt._libraries import replicas
from tfopt._policies import fixed_loss_scale
from tfopt._policies.skip_nonfinite import FiniteSteps
from tfopt._values.cells_and_codecs import VALUE, Codec
from tfopt._values.initial_values import Kept
from tfopt._values.initial_values import copy as start_as
from tfopt.hyper import Hyper, Static

# --- policies with state --------------------------------------------------------------------------


class Lookahead(Policy):
    """Every few steps slow weights move towards the fast ones, which go on from there."""

    sync_period = Static(5, whole=True, low=1)
    slow_step = Hyper(0.5, low=0, high=1)
    kept = {"slow": Kept()}

    def slots(self, x, first):
        return {"slow": start_as(x)}

    def after_update(self, step, works):
        def sync(own, work):
            cells = self.engine.state.cells(work.variable, own)
            x, slow = cells[VALUE], cells["slow"]
            before = slow.read()
            part = tf.cast(step.values["slow_step"], before.dtype)
            slow.write(before + part * (tf.cast(x.read(), before.dtype) - before))
            x.write(slow.read())

        @replicas.when(tf.equal((step.iterations + 1) % self.engine.statics["sync_period"], 0))
        def sync_all():
            replicas.each_copy(works, sync)


class Looking(tfopt.SGD, policies=[Lookahead]):
    pass


class DynamicScale(FiniteSteps):
    """The loss scale of float16 training: it is halved when a step is skipped, and grows else."""

    first_scale = Static(8.0, above=0)
    growth_steps = Static(2, whole=True, low=1)
    offers = {"loss_scale": property(lambda self: self._engine.state.counter("loss_scale"))}

    @property
    def counters(self):
        return {"loss_scale": float(self.engine.statics["first_scale"]), "good_steps": 0}

    def change_own_gradients(self, step, works):
        return fixed_loss_scale.divided(works, self.engine.state.counter("loss_scale"))

    def after_decision(self, step, taken):
        scale, good = map(self.engine.state.counter, ("loss_scale", "good_steps"))
        good.assign(tf.where(taken, good + 1, 0))
        grows = tf.equal(good % self.engine.statics["growth_steps"], 0)
        scale.assign(tf.where(taken, tf.where(grows, 2 * scale, scale), scale / 2))


class Scaled(tfopt.SGD, policies=[DynamicScale]):
    pass


# --- a policy inside the update -------------------------------------------------------------------


class CoupledDecay(Policy):
    """Decay that is a part of the gradient, so that moments see it."""

    coupled_decay = Hyper(None, off=None, low=0)

    @classmethod
    def is_used_by(cls, engine):
        return engine.uses("coupled_decay")

    @staticmethod
    def factor(update, h):
        return h["coupled_decay"]

    @staticmethod
    def enter_update(factor, g, x):
        return g + factor * x, x


class CoupledAdam(tfopt.Adam, policies=[CoupledDecay]):
    pass


class CoupledSGD(tfopt.SGD, policies=[CoupledDecay]):
    pass


# --- a policy that is a codec, too ----------------------------------------------------------------


class EightBits(Policy, Codec):
    """Moments as 8-bit codes, on a power scale, of the largest absolute value of their block."""

    code_block = Static(16, whole=True, low=1)
    suffixes = ("", "_absmax")
    by_rows = False  # a block may begin in one row and end in another

    def __init__(self, engine):
        # Not the engine itself: compiled functions are kept by codecs, and outlive optimizers.
        self.block = engine.statics["code_block"]

    def codec(self, x, name):
        return self if name in ("m", "v") else None

    def __eq__(self, other):
        return type(self) is type(other) and self.block == other.block

    def __hash__(self):
        return hash((type(self), self.block))

    def encode(self, value):
        blocks = self._blocks(value)
        largest = tf.reduce_max(tf.abs(blocks), axis=1, keepdims=True)
        part = tf.sqrt(tf.sqrt(tf.math.divide_no_nan(tf.abs(blocks), largest)))
        codes = tf.reshape(tf.sign(blocks) * tf.round(127 * part), [-1])[: tf.size(value)]
        return tf.cast(tf.reshape(codes, tf.shape(value)), tf.int8), largest[:, 0]

    def decode(self, codes, largest):
        part = self._blocks(tf.cast(codes, largest.dtype)) / 127
        values = part * tf.abs(part) ** 3 * largest[:, tf.newaxis]
        values = tf.reshape(values, [-1])[: tf.size(codes)]
        return tf.reshape(values, tf.shape(codes))

    def _blocks(self, values):
        flat = tf.reshape(values, [-1])
        return tf.reshape(tf.pad(flat, [[0, -tf.size(flat) % self.block]]), [-1, self.block])


class CodedAdam(tfopt.Adam, policies=[EightBits], shared=True):
    pass


def coded(values, block=16):
    """The codes of values in NumPy, the largest of each block, and what both stand for."""
    codes, largest = np.empty(values.size), []
    for begin in range(0, values.size, block):
        own = values.ravel()[begin : begin + block]
        largest.append(np.abs(own).max())
        part = np.abs(own) / (largest[-1] or 1)
        codes[begin : begin + block] = np.sign(own) * np.round(127 * part**0.25)
    scale = np.repeat(largest, block)[: values.size]
    decoded = np.sign(codes) * (codes / 127) ** 4 * scale
    return codes.reshape(values.shape), np.array(largest), decoded.reshape(values.shape)


def through_codes(values):
    return coded(values)[2]


# --- a kernel that takes more ---------------------------------------------------------------------


class AdamOfOneKernel(tfopt.AdamW):
    """AdamW whose kernel takes clip factor and decay, too: further ops stand for it here."""

    fused_takes = frozenset({"clip_factor", "decay_rate"})
    given = []  # for each call the shape, and the names of the factors

    def fused(self, g, var, s, h, clip_factor=None, decay_rate=None):
        factors = {"clip_factor": clip_factor, "decay_rate": decay_rate}
        self.given.append((*var.shape, *(n for n, f in factors.items() if f is not None)))
        if clip_factor is not None:
            g = g * clip_factor
        if decay_rate is not None:
            var.assign_sub(decay_rate * var, read_value=False)
        return super().fused(g, var, s, h)


# --- a path of its own ----------------------------------------------------------------------------


class Stacked(update_paths.Path):
    """All variables of a shape by one set of ops on their stack: for updates by element."""

    name = "stacked"
    launches = []  # of how many variables

    def takes(self, update, h):
        return update.g is not None and update.indices is None and update.clip_factor is None

    def run(self, updates, h):
        alike = {}
        for update in updates:
            x = update.x.variable
            alike.setdefault((*x.shape, x.dtype), []).append(update)
        for same in alike.values():
            self.launches.append(len(same))
            values = tf.nest.map_structure(
                lambda *each: tf.stack(each), *map(update_paths.read, same)
            )
            x, slots = update_paths.compute(self.engine.optimizer, same[0], values, h)
            for i, update in enumerate(same):
                update_paths.write(update, x[i], {name: slot[i] for name, slot in slots.items()})


class StackedAdamW(tfopt.AdamW, paths=[Stacked]):
    pass


# --- what tests see of a step ---------------------------------------------------------------------


class Noting(Policy):
    """Notes each step that runs in Python: one that was traced before does not."""

    steps = 0

    def before_update(self, step, works):
        Noting.steps += 1
