"""Train, save, load in a new process, train on: every optimizer, every format, bit for bit."""

import copy
import functools
import os
import pathlib
import pickle
import re
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from cases import CASES
from models import linear_model
from processes import run_python
from training import (
    ALL,
    PLAIN,
    assert_same,
    of_each_kind,
    of_some_kinds,
    train_on_cosines,
    untraced,
    value_of,
    values_of,
)

import tfopt

LIBRARIES = {"keras": keras, "tf_keras": tf_keras}
STEPS = 3  # odd, so that a break falls inside an accumulation of two

# Policies of a step, by name; "" is none. Every optimizer is saved and resumed without one, and
# some with each; some in a loss-scale wrapper.
POLICIES = {
    "": {},
    "averages": {"use_ema": True, "ema_momentum": 0.5, "skip_nonfinite": True},
    "accumulation": {"gradient_accumulation_steps": 2, "loss_scale_factor": 4.0},
    "decay": {
        "weight_decay": 0.125,
        "learning_rate": tfopt.schedules.ExponentialDecay(0.25, 2, 0.5),
        "global_clipnorm": 1.0,
    },
}
WITHOUT = of_each_kind(CASES, ALL)
KINDS_OF_PLAIN = [case.name for case in of_each_kind(PLAIN)]
WITH_POLICIES = [case.name for case in of_some_kinds(PLAIN)]
# Formats with every row of the table: one of each way in which state is written.
WITH_EVERY_ROW = ("checkpoint", "keras .keras", "keras .h5", "get_weights")
IN_A_WRAPPER = ["Adam", "Nadam"]  # which does not look at its optimizer's state; Nadam has a scalar


def optimizers():
    """{name: function that makes the optimizer}."""
    found = {
        f"{case.name} {policy}".strip(): functools.partial(case.make, **keywords)
        for policy, keywords in POLICIES.items()
        for case in WITHOUT
        if not policy or case.name in WITH_POLICIES and takes(case, policy)
    }
    scaled = {f"{name} scaled": functools.partial(loss_scaled, name) for name in IN_A_WRAPPER}
    return found | scaled


def takes(case, policy):
    """Whether an optimizer has the keywords of a policy."""
    refused = {"decay": case.cls.decays is None, "averages": case.averages_itself}
    return not refused.get(policy)


def rows_of(kind):
    """The rows that a format has."""
    every = optimizers()
    if kind in WITH_EVERY_ROW:
        return every
    return {row: make for row, make in every.items() if row.split()[0] in KINDS_OF_PLAIN}


def loss_scaled(name):
    """In a wrapper whose scale grows during the test."""
    make = {case.name: case.make for case in CASES}[name]
    return tfopt.LossScaleOptimizer(make(), initial_scale=4.0, dynamic_growth_steps=2)


def make_model(library, optimizer=None):
    model = linear_model(LIBRARIES[library], optimizer, outputs=2)
    model.set_weights([np.arange(6).reshape(3, 2) / 4 - 0.5, np.array([1.0, -2.0])])
    return model


def train_model(model, optimizer, steps=STEPS):
    with untraced():
        train_on_cosines(optimizer, model.trainable_variables, steps)


# --- formats: save(model, optimizer, path), and load(make, library, path) -> model, optimizer -----


def save_checkpoint(model, optimizer, path):
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
    tf.train.CheckpointManager(checkpoint, path, max_to_keep=1).save()


def load_checkpoint(make, library, path, slots_first=False):
    optimizer = make()
    model = make_model(library, optimizer)
    if slots_first:
        train_model(model, optimizer, 1)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
    manager = tf.train.CheckpointManager(checkpoint, path, max_to_keep=1)
    status = checkpoint.restore(manager.latest_checkpoint)
    optimizer.build(model.trainable_variables)
    status.assert_existing_objects_matched()
    return model, optimizer


def load_checkpoint_into_slots(make, library, path):
    return load_checkpoint(make, library, path, slots_first=True)


def load_model(make, library, path):
    model = LIBRARIES[library].models.load_model(path)
    return model, model.optimizer


def load_weights_file(make, library, path):
    model = make_model(library, make())
    model.load_weights(path)
    return model, model.optimizer


def save_list(model, optimizer, path):
    np.savez(path, *values_of(model.weights, optimizer))


def load_list(make, library, path):
    model, optimizer = make_model(library), make()
    with np.load(path) as arrays:
        loaded = [arrays[name] for name in arrays.files]
    model.set_weights(loaded[:2])
    optimizer.set_weights(loaded[2:])
    return model, optimizer


def save_pickle(model, optimizer, path):
    pathlib.Path(path).write_bytes(pickle.dumps((model.get_weights(), optimizer)))


def load_pickle(make, library, path):
    model = make_model(library)
    weights, optimizer = pickle.loads(pathlib.Path(path).read_bytes())
    model.set_weights(weights)
    return model, optimizer


def save_model(model, optimizer, path):
    model.save(path)


def save_weights_file(model, optimizer, path):
    model.save_weights(path)


FORMATS = {  # name: (library, end of the file's name, save, load)
    "checkpoint": ("keras", "", save_checkpoint, load_checkpoint),
    "checkpoint into slots": ("keras", "", save_checkpoint, load_checkpoint_into_slots),
    "keras .keras": ("keras", ".keras", save_model, load_model),
    "keras .h5": ("keras", ".h5", save_model, load_model),
    "keras .weights.h5": ("keras", ".weights.h5", save_weights_file, load_weights_file),
    "tf_keras checkpoint": ("tf_keras", "", save_checkpoint, load_checkpoint),
    "tf_keras .keras": ("tf_keras", ".keras", save_model, load_model),
    "tf_keras .weights.h5": ("tf_keras", ".weights.h5", save_weights_file, load_weights_file),
    "tf_keras .h5": ("tf_keras", ".h5", save_model, load_model),
    "get_weights": ("keras", ".npz", save_list, load_list),
    "pickle": ("keras", ".pickle", save_pickle, load_pickle),
}


def file_of(folder, kind, row):
    return os.path.join(folder, f"{kind}-{row}".replace(" ", "_") + FORMATS[kind][1])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Every row, trained, saved in every format, and trained on: the folder of the files."""
    folder = str(tmp_path_factory.mktemp("resume"))
    expected = {}
    for library in LIBRARIES:
        for row, make in optimizers().items():
            optimizer = make()
            model = make_model(library, optimizer)
            train_model(model, optimizer)
            for kind, (format_library, _, save, _) in FORMATS.items():
                if format_library == library and row in rows_of(kind):
                    save(model, optimizer, file_of(folder, kind, row))
            train_model(model, optimizer)
            for number, value in enumerate(values_of(model.weights, optimizer)):
                expected[f"{library}/{row}/{number}"] = value
    np.savez(os.path.join(folder, "expected.npz"), **expected)
    return folder


def resume_all(folder):
    """Loads and trains on every row of every format; in a process of its own."""
    with np.load(os.path.join(folder, "expected.npz")) as file:
        expected = dict(file)
    for kind, (library, _, _, load) in FORMATS.items():
        for row, make in rows_of(kind).items():
            model, optimizer = load(make, library, file_of(folder, kind, row))
            train_model(model, optimizer)
            got = values_of(model.weights, optimizer)
            wanted = [expected[f"{library}/{row}/{n}"] for n in range(len(got))]
            assert_same(got, wanted, message=f"{kind}: {row}")
            print(f"went on: {kind}: {row}", flush=True)


@pytest.fixture(scope="module")
def resumed(trained):
    """What a new process said that went on."""
    return run_python(__file__, trained, timeout=400, check=False)


@pytest.mark.timeout(580)
@pytest.mark.parametrize("kind", FORMATS)
def test_goes_on_bit_for_bit_in_a_new_process(kind, resumed):
    went_on = [line for line in resumed.stdout.splitlines() if f"went on: {kind}: " in line]
    assert len(went_on) == len(rows_of(kind)), resumed.stderr[-3000:]


@pytest.mark.parametrize("row", rows_of("a copy"))
def test_deepcopy_goes_on_bit_for_bit(row):
    optimizer = optimizers()[row]()
    model = make_model("tf_keras")
    train_model(model, optimizer)
    weights, twin = model.get_weights(), copy.deepcopy(optimizer)
    train_model(model, optimizer)
    expected = values_of(model.weights, optimizer)
    model.set_weights(weights)
    train_model(model, twin)
    assert_same(values_of(model.weights, twin), expected)


ADAMS = [row for row in optimizers() if re.match("Adam (averages|accumul|decay|scaled)", row)]


@pytest.mark.parametrize("row", [*(case.name for case in WITHOUT), *ADAMS])
def test_from_one_replica_to_two_and_back(row, mirrored, tmp_path):
    def make():
        variables = [tf.Variable([[0.5, -1.0]] * 3), tf.Variable([1.0, 2.0])]
        optimizer = optimizers()[row]()
        return optimizer, variables, tf.train.Checkpoint(optimizer=optimizer, v=variables)

    one, variables, checkpoint = make()
    with untraced():
        train_on_cosines(one, variables)
    with mirrored.scope():
        two, copies, theirs = make()
    status = theirs.restore(checkpoint.save(str(tmp_path / "one")))
    two.build(copies)
    status.assert_existing_objects_matched()
    assert_same(values_of(copies, two), values_of(variables, one))
    for slot in two.weights[1:]:
        if "accumulated" in slot.name:  # each replica has its own; what was loaded is the first's
            continue
        value_of(slot)  # fails if copies differ
    back, others, mine = make()
    mine.restore(theirs.save(str(tmp_path / "two")))
    back.build(others)
    assert_same(values_of(others, back), values_of(variables, one))
    listed = optimizers()[row]()
    listed.set_weights(two.get_weights())
    listed.build(others)
    assert_same(listed.get_weights(), one.get_weights())


if __name__ == "__main__":
    resume_all(sys.argv[1])
