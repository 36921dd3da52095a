"""Every optimizer on a DTensor mesh of four devices: what `dtensor_test.py` checks.

python tests/on_mesh.py results.json
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from strategies import STEPS, difference
from tensorflow.experimental import dtensor

import tfopt

LAYOUTS = {  # of the variables: the mesh splits the batch, and the model
    "batch": (dtensor.UNSHARDED, dtensor.UNSHARDED),
    "columns": (dtensor.UNSHARDED, "model"),
    "rows": ("model", dtensor.UNSHARDED),
}
SHAPE = (4, 6)
WITH_OPTIONS = {  # by note: an optimizer, and what is not crossed with all of them
    "clip": (tfopt.SGD, {"clipnorm": 1.0}),
    "averages": (tfopt.Adam, {"use_ema": True, "ema_overwrite_frequency": 3}),
    "accumulation": (tfopt.Adam, {"gradient_accumulation_steps": 2, "skip_nonfinite": True}),
}


def run(file):
    from cases import CASES, Case

    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * 4
    tf.config.set_logical_device_configuration(cpu, devices)
    mesh = dtensor.create_mesh([("batch", 2), ("model", 2)], devices=[f"CPU:{i}" for i in range(4)])
    others = [
        Case(cls, {"learning_rate": 0.5, **options}, None, note=note)
        for note, (cls, options) in WITH_OPTIONS.items()
    ]
    results = {}
    for case in [*CASES, *others]:
        for name in LAYOUTS if not case.note else ["columns"]:
            layout = dtensor.Layout(LAYOUTS[name], mesh)
            for kind in ("graph", "eager") if name == "columns" and not case.note else ("graph",):
                results[f"{case.name}/{name}-{kind}"] = cell(mesh, layout, case, kind)
    results["state"] = state(dtensor.Layout(LAYOUTS["columns"], mesh), Path(file).parent)
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


def cell(mesh, layout, case, kind):
    """Trains a matrix in parts and a replicated vector, beside the same on one device."""
    random = np.random.default_rng(7)
    start = [random.normal(size=SHAPE), random.normal(size=SHAPE[1:])]
    batches = random.normal(size=(STEPS, 8, SHAPE[0]))
    alone, expected = case.make(), [tf.Variable(value) for value in start]
    optimizer = case.make()
    replicated = dtensor.Layout.replicated(mesh, 1)
    variables = [
        dtensor.DVariable(on(layout, start[0])),
        dtensor.DVariable(on(replicated, start[1])),
    ]

    def step(optimizer, variables, batch):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(tf.matmul(batch, variables[0]) + variables[1]))
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    one = tf.function(step, autograph=False)
    many = tf.function(step, autograph=False) if kind == "graph" else step
    split = dtensor.Layout(["batch", dtensor.UNSHARDED], mesh)
    for batch in batches:
        one(alone, expected, tf.constant(batch))
        with dtensor.default_mesh(mesh):  # for constants of eager gradients
            many(optimizer, variables, on(split, batch))
    pairs = [(optimizer.iterations, alone.iterations), *zip(variables, expected, strict=True)]
    like = True
    for variable, other in zip(variables, expected, strict=True):
        for name in alone._slots.of(other):
            slot = optimizer.get_slot(variable, name)
            like = like and (slot.shape != variable.shape or slot.layout == variable.layout)
            pairs.append((slot, alone.get_slot(other, name)))
    return {
        "moved": min(difference(y.numpy(), x) for x, y in zip(start, expected, strict=True)),
        "difference": max(difference(read(ours), theirs.numpy()) for ours, theirs in pairs),
        "slots are laid out as their variable": like,
    }


def state(layout, folder):
    """Whether state comes back by each way out and in."""
    gradient = on(layout, np.arange(24.0).reshape(SHAPE))

    def make(steps):
        variable, optimizer = dtensor.DVariable(on(layout, np.ones(SHAPE))), tfopt.Adam(0.5)
        for _ in range(steps):
            optimizer.apply_gradients([(gradient, variable)])
        return variable, optimizer

    def same(variable, optimizer):
        found = [read(optimizer.iterations), *(read(s) for s in optimizer.weights[1:])]
        return len(found) == 3 and all(map(np.array_equal, found, expected))

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
    return {
        "set_weights": same(*listed),
        "checkpoint": same(*restored),
        "deferred checkpoint": same(*later),
        "learning rate": giver.get_config()["learning_rate"] == 0.25,
    }


def refused(layout):
    """What is refused, and how."""
    variable = dtensor.DVariable(on(layout, np.ones(SHAPE)))
    read_before, elsewhere = tfopt.SGD(), tfopt.SGD()
    read_before.iterations.assign_add(1)
    elsewhere.build([variable])
    slices = tf.IndexedSlices(tf.ones([1, SHAPE[1]], tf.float64), tf.constant([0]))
    attempts = {
        "sparse": lambda: tfopt.SGD().apply_gradients([(slices, variable)]),
        "read before": lambda: read_before.build([variable]),
        "on two meshes": lambda: elsewhere.build([tf.Variable(1.0)]),
    }
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
