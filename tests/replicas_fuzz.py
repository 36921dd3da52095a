"""Random steps on 2 to 4 replicas, beside one replica on the summed gradients.

Replicas need devices and collective keys of their own, so this is a process; a case is made from
its seed alone:

    python tests/replicas_fuzz.py results.json 2 0 1 2     # replicas, then seeds
"""

import contextlib
import copy
import functools
import json
import os
import pickle
import sys
import traceback
from pathlib import Path

import numpy as np

STEPS = 4
ROWS = 6


class Case:
    """What is random about one case."""

    def __init__(self, seed, replicas):
        from cases import CASES

        random = np.random.default_rng(seed)
        self.random, self.replicas = random, replicas
        self.case = CASES[random.integers(len(CASES))]
        self.merge_call = bool(random.integers(2))
        self.in_scope = bool(random.integers(2))
        self.inner = not self.merge_call and bool(random.integers(2))
        self.read_early = bool(random.integers(3) == 0)
        self.load_at = int(random.integers(STEPS))  # 0: not at all
        self.load = str(random.choice(["set_weights", "pickle", "deepcopy", "checkpoint"]))
        self.arguments = self._arguments()
        self.scales = bool(random.integers(4) == 0)  # whether a LossScaleOptimizer is around it
        self.skips = self.scales or "skip_nonfinite" in self.arguments
        self.infinite = random.integers(STEPS) if self.skips and random.integers(2) else -1
        self.values = [random.normal(size=shape) for shape in ((ROWS, 2), (3, 2))]
        size = (STEPS, replicas)
        self.dense = [random.normal(size=(*size, *v.shape)) for v in self.values[1:]]
        if self.infinite >= 0:
            self.dense[0][self.infinite, random.integers(replicas), 0] = np.inf
        self.counts = random.integers(1, 5, size=size)
        self.rows = random.normal(size=(*size, 4, 2))
        self.indices = random.integers(0, ROWS, size=(*size, 4))

    def _arguments(self):
        random, word = self.random, self.case.sparse
        own = dict(self.case.arguments)
        options = [
            [("clipnorm", 0.5), ("clipvalue", 0.3), ("global_clipnorm", 0.7)],
            [("use_ema", not self.case.averages_itself)],
            [("gradient_accumulation_steps", int(random.integers(2, 4)))],
            [("skip_nonfinite", True)],
            [("lazy", None if word == "whole" else True)],
        ]
        for choices in options:
            if random.integers(3) == 0:
                name, value = choices[random.integers(len(choices))]
                own.setdefault(name, value)
        if own.get("use_ema") and random.integers(2):
            own["ema_overwrite_frequency"] = 2
        if self.case.cls.decays == "base" and random.integers(4) == 0:
            own.setdefault("weight_decay", 0.01)
        return {**own, "jit_compile": bool(random.integers(8) == 0)}

    def make(self):
        import tfopt

        optimizer = self.case.cls(**self.arguments)
        if self.scales:
            optimizer = tfopt.LossScaleOptimizer(
                optimizer, initial_scale=8.0, dynamic_growth_steps=2
            )
        return optimizer

    def described(self):
        text = f"{'LossScale of ' if self.scales else ''}{self.case.name}({self.arguments})"
        for name in ("merge_call", "inner", "in_scope", "read_early", "load_at", "load"):
            text += f", {name}={getattr(self, name)}"
        return f"{text}, infinite={self.infinite}"


def reloaded(optimizer, case, scope, variables):
    """Another optimizer with the same state, which was loaded before it has seen variables."""
    import tensorflow as tf

    with scope:
        if case.load == "deepcopy":
            return copy.deepcopy(optimizer)
        if case.load == "pickle":
            return pickle.loads(pickle.dumps(optimizer))
        fresh = case.make()
    if case.load == "set_weights":
        fresh.set_weights(optimizer.get_weights())
        return fresh
    names = {f"v{number}": variable for number, variable in enumerate(variables)}
    path = tf.train.Checkpoint(optimizer=optimizer, **names).write(f"{reloaded.folder}/state")
    tf.train.Checkpoint(optimizer=fresh, **names).restore(path)
    return fresh


def run_case(seed, strategy):
    """Raises unless replicas are as one, and their copies are equal."""
    import tensorflow as tf

    case = Case(seed, strategy.num_replicas_in_sync)
    extended = strategy.extended
    extended._use_merge_call = lambda: case.merge_call
    nothing = contextlib.nullcontext
    with strategy.scope():
        ours = [tf.Variable(value) for value in case.values]
    theirs = [tf.Variable(value) for value in case.values]
    optimizer_scope = strategy.scope if case.in_scope else nothing
    with optimizer_scope():
        optimizer = case.make()
    alone = case.make()
    if case.read_early:
        for each in (optimizer, alone):
            _ = each.iterations, each.learning_rate
    tensors = [tf.constant(x) for x in (*case.dense, case.rows, case.indices, case.counts)]

    def apply(optimizer, variables, gradients):
        gradients = [
            tf.IndexedSlices(optimizer.scale_loss(g.values), g.indices)
            if isinstance(g, tf.IndexedSlices)
            else optimizer.scale_loss(g)
            for g in gradients
        ]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    def on_replicas(optimizer):
        def replica(step):
            number = tf.convert_to_tensor(
                tf.distribute.get_replica_context().replica_id_in_sync_group
            )
            dense, rows, indices, count = (tensor[step, number] for tensor in tensors)
            apply(optimizer, ours, [tf.IndexedSlices(rows[:count], indices[:count]), dense])

        def all_replicas(step):
            function = tf.function(replica, autograph=False)
            # Passed directly, a `tf.function` would be called once for all replicas.
            strategy.run(lambda: (function if case.inner else replica)(step))

        return tf.function(all_replicas, autograph=False)

    def on_one(optimizer):
        return tf.function(functools.partial(apply, optimizer, theirs), autograph=False)

    def summed(step):
        counts = case.counts[step]
        rows = np.concatenate([case.rows[step, r, :n] for r, n in enumerate(counts)])
        indices = np.concatenate([case.indices[step, r, :n] for r, n in enumerate(counts)])
        slices = tf.IndexedSlices(tf.constant(rows), tf.constant(indices))
        return [slices, *(tf.constant(d[step].sum(axis=0)) for d in case.dense)]

    many, one = on_replicas(optimizer), on_one(alone)
    for step in range(STEPS):
        if step == case.load_at != 0:
            optimizer = reloaded(optimizer, case, optimizer_scope(), ours)
            alone = reloaded(alone, case, nothing(), theirs)
            many, one = on_replicas(optimizer), on_one(alone)
        many(tf.constant(step))
        one(summed(step))
    assert optimizer.iterations.numpy() == alone.iterations.numpy(), "iterations"
    names = [weight.name for weight in alone.weights]
    assert len(optimizer.weights) == len(names), ([w.name for w in optimizer.weights], names)
    for x, y in zip([*ours, *optimizer.weights], [*theirs, *alone.weights], strict=True):
        if "accumulated_rows" in y.name:  # flags, which count replicas
            continue
        found, expected = x.numpy(), y.numpy()
        finite = np.isfinite(expected)  # a sum of a window may have an infinity
        assert np.array_equal(found[~finite], expected[~finite], equal_nan=True), y.name
        found, expected = np.where(finite, found, 0), np.where(finite, expected, 0)
        worst = np.max(np.abs(found - expected)) / max(np.max(np.abs(expected)), 1e-3)
        assert worst < 1e-11, (y.name, worst, found, expected)
        if "accumulated" not in y.name:  # a sum of the replicas'
            first, *more = [copy.numpy() for copy in strategy.experimental_local_results(x)]
            for other in more:
                assert first.tobytes() == other.tobytes(), ("copies", y.name, first, other)


def main(file, replicas, *seeds):
    import tempfile

    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * int(replicas)
    tf.config.set_logical_device_configuration(cpu, devices)
    strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(int(replicas))])
    results = {}
    with tempfile.TemporaryDirectory() as reloaded.folder:
        for seed in map(int, seeds):
            Path(file).write_text(json.dumps({**results, seed: "it did not end"}))
            try:
                run_case(seed, strategy)
            except Exception:
                what = Case(seed, int(replicas)).described()
                results[seed] = f"{what}\n{traceback.format_exc()[-1500:]}"
            else:
                results[seed] = None
    Path(file).write_text(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)
