"""Every optimizer on a DTensor mesh of four devices: what `dtensor_test.py` checks.

python tests/on_mesh.py results.json
"""

import copy
import functools
import json
import os
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from cases import CASES, Case
from strategies import difference
from tensorflow.experimental import dtensor
from training import PLAIN, of_each_kind, of_one_kind, slots_of

import tfopt

LAYOUTS = {  # of the variables: the mesh splits the batch, and the model
    "batch": (dtensor.UNSHARDED, dtensor.UNSHARDED),
    "columns": (dtensor.UNSHARDED, "model"),
    "rows": ("model", dtensor.UNSHARDED),
}
SHAPE = (4, 6)
STEPS = 8
WITH_OPTIONS = {  # by note: an optimizer, and what is not crossed with all of them
    "clip": (tfopt.SGD, {"clipnorm": 1.0}),
    "averages": (tfopt.Adam, {"use_ema": True, "ema_overwrite_frequency": 3}),
    "accumulation": (tfopt.Adam, {"gradient_accumulation_steps": 2, "skip_nonfinite": True}),
    "groups": (tfopt.Nadam, {"groups": {"": {"learning_rate_factor": 0.5, "beta_1": 0.5}}}),
    "lazy-sharded": (
        tfopt.Adam,
        {"lazy": True, "use_ema": True, "gradient_accumulation_steps": 2, "shard_slots": "batch"},
    ),
    "all-sharded": (
        tfopt.AdamW,
        {
            "shard_slots": "batch",
            "use_ema": True,
            "ema_overwrite_frequency": 3,
            "gradient_accumulation_steps": 2,
            "skip_nonfinite": True,
            "global_clipnorm": 1.0,
            "weight_decay": 0.1,
        },
    ),
}
STATES = {"state": {}, "sharded state": {"shard_slots": "batch"}}
AVERAGES = {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 3}
DATA_PARALLEL = {  # by name: an optimizer, its options, and whether a loss scale is around it
    "averages": (tfopt.Adam, {"use_ema": True, "ema_momentum": 0.5}, False),
    "overwriting": (tfopt.Adam, AVERAGES, False),
    "accumulation": (tfopt.Adam, {"gradient_accumulation_steps": 3}, False),
    "loss scale": (tfopt.Adam, {}, True),
    "loss scale and averages": (tfopt.AdamW, {**AVERAGES, "global_clipnorm": 1.0}, True),
    "loss scale and accumulation": (
        tfopt.Adam,
        {**AVERAGES, "gradient_accumulation_steps": 2, "lazy": True},
        True,
    ),
    "norms of parts": (tfopt.LAMB, {**AVERAGES, "weight_decay": 0.1}, False),
}
REFUSES_AVERAGES = tf.__version__.startswith(("2.16.", "2.17."))  # in parts; see `shard_slots`
if REFUSES_AVERAGES:
    del WITH_OPTIONS["lazy-sharded"], WITH_OPTIONS["all-sharded"], STATES["sharded state"]
KINDS = {  # of a cell: the layout of its matrix, and changes to the optimizer
    "batch-graph": ("batch", {}),
    "columns-graph": ("columns", {}),
    "columns-eager": ("columns", {}),
    "rows-graph": ("rows", {}),
    "batch-sharded": ("batch", {"shard_slots": "batch"}),
    "columns-sharded": ("columns", {"shard_slots": "batch"}),
}


def cells():
    """Rows of the table in one layout, and optimizers in all."""
    for case in of_each_kind(CASES):
        yield case, "columns-graph"
    for case in of_one_kind(PLAIN):
        yield from ((case, kind) for kind in KINDS if kind != "columns-graph")


def run(file):

    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * 4
    tf.config.set_logical_device_configuration(cpu, devices)
    mesh = dtensor.create_mesh([("batch", 2), ("model", 2)], devices=[f"CPU:{i}" for i in range(4)])
    others = [
        Case(cls, {"learning_rate": 0.5, **options}, None, note=note)
        for note, (cls, options) in WITH_OPTIONS.items()
    ]
    results = {}
    for case, kind in [*cells(), *((case, "columns-graph") for case in others)]:
        name, changes = KINDS[kind]
        layout = dtensor.Layout(LAYOUTS[name], mesh)
        results[f"{case.name}/{kind}"] = cell(mesh, layout, case, kind, changes)
    for name, (cls, options, scaled) in DATA_PARALLEL.items():
        split = name == "norms of parts"
        results[f"data parallel: {name}"] = data_parallel(mesh, cls, options, scaled, split)
    for name, changes in STATES.items():
        layout = dtensor.Layout(LAYOUTS["columns"], mesh)
        results[name] = state(layout, Path(file).parent, changes)
    results["bytes"] = {
        over or "whole": bytes_on_each_device(dtensor.Layout(LAYOUTS["batch"], mesh), over)
        for over in (None, "batch", "model")
    }
    results["refused"] = refused(dtensor.Layout(LAYOUTS["columns"], mesh))
    Path(file).write_text(json.dumps(results))


def on(layout, value):
    everywhere = dtensor.Layout.replicated(layout.mesh, value.ndim)
    return dtensor.relayout(dtensor.copy_to_mesh(value, everywhere), layout)


def read(variable):
    """The whole value of a variable that may be in parts."""
    if not hasattr(variable, "layout"):
        return variable.numpy()
    everywhere = dtensor.Layout.replicated(variable.layout.mesh, variable.shape.rank)
    return dtensor.unpack(dtensor.relayout(variable.read_value(), everywhere))[0].numpy()


def problem():
    """The first values, and a batch for each step."""
    random = np.random.default_rng(7)
    start = [random.normal(size=SHAPE), random.normal(size=SHAPE[1:])]
    return start, random.normal(size=(STEPS, 8, SHAPE[0]))


def step(optimizer, variables, batch):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(tf.matmul(batch, variables[0]) + variables[1]))
    optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))


@functools.cache
def trained_alone(case):
    """An optimizer and its variables after all steps on one device."""
    start, batches = problem()
    optimizer, variables = case.make(shard_slots=None), [tf.Variable(value) for value in start]
    for batch in batches:
        step(optimizer, variables, tf.constant(batch))
    return optimizer, variables


def cell(mesh, layout, case, kind, changes):
    """Trains a matrix in parts and a replicated vector; compares them with one device."""
    start, batches = problem()
    alone, expected = trained_alone(case)
    optimizer = case.make(**changes)
    replicated = dtensor.Layout.replicated(mesh, 1)
    variables = [
        dtensor.DVariable(on(layout, start[0])),
        dtensor.DVariable(on(replicated, start[1])),
    ]

    many = step if kind.endswith("eager") else tf.function(step, autograph=False)
    split = dtensor.Layout(["batch", dtensor.UNSHARDED], mesh)
    for batch in batches:
        with dtensor.default_mesh(mesh):  # for constants of eager gradients
            many(optimizer, variables, on(split, batch))
    pairs = [(optimizer.iterations, alone.iterations), *zip(variables, expected, strict=True)]
    like, sharded = True, {optimizer.shard_slots} - {None}
    for variable, other in zip(variables, expected, strict=True):
        for name, expected_slot in slots_of(alone, other).items():
            slot = optimizer.get_slot(variable, name)
            if slot.shape == variable.shape:
                like = like and dimensions(slot) == dimensions(variable) | sharded
            pairs.append((slot, expected_slot))
    return {
        "moved": min(difference(y.numpy(), x) for x, y in zip(start, expected, strict=True)),
        "difference": max(difference(read(ours), theirs.numpy()) for ours, theirs in pairs),
        "slots are laid out as they should be": like,
    }


def data_parallel(mesh, cls, options, scaled, split):
    """Trains four variables, whole on each device or split, in a function; the batch is split."""
    random = np.random.default_rng(3)
    shapes = [(4, 6), (6,), (6, 4), (4,)]
    start, batches = [random.normal(size=s) for s in shapes], random.normal(size=(STEPS, 8, 4))
    if scaled:
        batches[4, 0, 0] = np.inf

    def train_step(optimizer, variables, batch):
        with tf.GradientTape() as tape:
            hidden = tf.tanh(tf.matmul(batch, variables[0]) + variables[1])
            loss = tf.reduce_sum(tf.square(tf.matmul(hidden, variables[2]) + variables[3]))
            target = optimizer.scale_loss(loss)
        gradients = tape.gradient(target, variables)
        steps = optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return steps, tf.reduce_sum(batch)  # another all-reduce, which is independent of the step

    def make():
        optimizer = cls(0.1, **options)
        return tfopt.LossScaleOptimizer(optimizer, 8.0, 3) if scaled else optimizer

    layouts = [dtensor.Layout.replicated(mesh, len(shape)) for shape in shapes]
    if split:
        layouts = [
            dtensor.Layout([dtensor.UNSHARDED] * (len(s) - 1) + ["model"], mesh) for s in shapes
        ]
    alone, ours = make(), make()
    expected = [tf.Variable(value) for value in start]
    variables = [dtensor.DVariable(on(lay, v)) for lay, v in zip(layouts, start, strict=True)]
    ours.build(variables)
    many = tf.function(train_step, autograph=False)
    rows = dtensor.Layout(["batch", dtensor.UNSHARDED], mesh)
    counted = True
    for batch in batches:
        steps, _ = train_step(alone, expected, tf.constant(batch))
        with dtensor.default_mesh(mesh):
            found, _ = many(ours, variables, on(rows, batch))
        counted = counted and int(dtensor.unpack(found)[0]) == int(steps)
    pairs = zip([*variables, *ours.weights], [*expected, *alone.weights], strict=True)
    return {
        "moved": min(difference(y.numpy(), x) for x, y in zip(start, expected, strict=True)),
        "difference": max(difference(read(ours), theirs.numpy()) for ours, theirs in pairs),
        "steps are counted": counted,
    }


def dimensions(variable):
    """The dimensions of the mesh over which a variable is split."""
    return {*variable.layout.sharding_specs} - {dtensor.UNSHARDED}


def bytes_on_each_device(layout, over):
    """What Adam's slots of one matrix take there."""
    variable, optimizer = (
        dtensor.DVariable(on(layout, np.ones(SHAPE))),
        tfopt.Adam(shard_slots=over),
    )
    optimizer.build([variable])
    slots = [optimizer.get_slot(variable, name) for name in ("m", "v")]
    parts = [dtensor.unpack(slot.read_value()) for slot in slots]
    return [sum(part.numpy().nbytes for part in device) for device in zip(*parts, strict=True)]


def state(layout, folder, changes):
    """Whether state comes back by each way out and in."""
    gradient = on(layout, np.arange(24.0).reshape(SHAPE))

    def make(steps):
        variable = dtensor.DVariable(on(layout, np.ones(SHAPE)))
        optimizer = tfopt.Adam(0.5, use_ema=True, ema_momentum=0.5, **changes)
        for _ in range(steps):
            optimizer.apply_gradients([(gradient, variable)])
        return variable, optimizer

    def same(variable, optimizer):
        found = [read(optimizer.iterations), *(read(s) for s in optimizer.weights[1:])]
        return len(found) == 4 and all(map(np.array_equal, found, expected))

    def works(optimizer):
        optimizer.build([variable])
        twin, before = copy.deepcopy(optimizer), optimizer.get_weights()
        same = all(map(np.array_equal, twin.get_weights(), before))
        twin.apply_gradients([(gradient, variable)])
        return same and int(read(twin.iterations)) == int(read(optimizer.iterations)) + 1

    variable, giver = make(3)
    expected = giver.get_weights()
    path = tf.train.Checkpoint(variable=variable, optimizer=giver).save(folder / "mesh")
    listed = make(1)
    listed[1].set_weights(expected)
    restored, later = make(1), make(0)
    for found, optimizer in (restored, later):
        tf.train.Checkpoint(variable=found, optimizer=optimizer).restore(path)
    later[1].build([later[0]])
    giver.learning_rate = 0.25
    with giver.averaged_weights():
        averaged = np.array_equal(read(variable), expected[-1])
    giver.finalize_variable_values([variable])
    averaged = averaged and np.array_equal(read(variable), expected[-1])
    return {
        "averages": averaged,
        "set_weights": same(*listed),
        "checkpoint": same(*restored),
        "deferred checkpoint": same(*later),
        "deep copies": all(map(works, (giver, tfopt.LossScaleOptimizer(giver, 8.0)))),
        "learning rate": giver.get_config()["learning_rate"] == 0.25,
    }


def refused(layout):
    """What is refused, and how."""
    variable = dtensor.DVariable(on(layout, np.ones(SHAPE)))
    read_before, elsewhere = tfopt.SGD(), tfopt.SGD()
    scaled_before = tfopt.LossScaleOptimizer("sgd")
    scaled_before.scale_loss(1.0)
    read_before.iterations.assign_add(1)
    elsewhere.build([variable])
    variables = [variable, tf.Variable(np.ones(SHAPE))]
    slices = tf.IndexedSlices(tf.ones([1, SHAPE[1]], tf.float64), tf.constant([0]))
    attempts = {
        "sparse": lambda: tfopt.SGD().apply_gradients([(slices, variable)]),
        "read before": lambda: read_before.build([variable]),
        "scaled before": lambda: scaled_before.apply_gradients([(variable.read_value(), variable)]),
        "on two meshes": lambda: elsewhere.build([tf.Variable(1.0)]),
        "no such dimension": lambda: tfopt.SGD(shard_slots="data").build(variables),
        "no mesh": lambda: tfopt.SGD(shard_slots="batch").build(variables[1:]),
    }
    if REFUSES_AVERAGES:
        averages = tfopt.SGD(shard_slots="batch", use_ema=True)
        attempts["averages"] = lambda: averages.build(variables[:1])
    messages = {}
    for name, attempt in attempts.items():
        try:
            attempt()
        except (ValueError, NotImplementedError) as error:
            messages[name] = str(error)
    return messages


if __name__ == "__main__":
    run(sys.argv[1])
    os._exit(0)
