"""Two logical devices, one mirrored strategy a process, and the same randomness each time."""

import collections
import importlib.util
import itertools
import os
import random
import re

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("MPLBACKEND", "agg")

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfopt._engine import xla_functions

collect_ignore = ["benchmarks", "oracles", "typing"]  # nothing there is a test
if importlib.util.find_spec("orbax") is None:
    collect_ignore.append("peers")  # the extra of `make test-peers` is not installed

CPUS = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(CPUS[0], [tf.config.LogicalDeviceConfiguration()] * 2)


OLDEST = {  # by test, what Keras 3.0 and TensorFlow 2.16 do otherwise
    r"strategies_test.*Mirrored2-\w+-fit": "`fit` does not divide by the replicas",
    r"test_training_resumes_from_a_backup\[keras\]": "`BackupAndRestore` begins anew",
    r"test_state_of_frozen_layers_waits_for_them\[keras\]": "files do not hold `trainable`",
    r"test_reading_legacy_checkpoints\[Keras 3\]": "optimizers are not trackable",
    r"test_the_code_in_the_docs_runs\[docs/state.md\]": "optimizers are not trackable",
    r"test_replicas_are_summed_before_they_are_clipped\[Keras 3\]": "gradients are not summed",
    r"test_policies_go_on\[\w+-keras-policy2\]": "`iterations` counts batches",
    r"get_test.*[Ll]amb": "there is no Lamb",
    r"claims_test.*test_schedule_free.*Keras 3": "there is no ScheduleFreeAdamW",
    r"convert_test.*([Mm]uon|[Ss]chedule_?[Ff]ree)": "there are no Muon and ScheduleFreeAdamW",
}


# Files whose tests wait for processes of their own: begun first, they are not what a run ends with.
SLOW = (
    "strategies_test",
    "replicas_fuzz_test",
    "resume_test",
    "dtensor_test",
    "export_test",
    "notebooks_test",
    "faults",
)


PASSED = "tfopt/passed"  # in pytest's cache: the tests that the last `make test` has passed
MORE_INSIDE = ("sequences_test",)  # files whose tests themselves take more then
passed = []


def pytest_runtest_logreport(report):
    if report.when == "call" and report.passed:
        passed.append(report.nodeid)


def pytest_sessionfinish(session):
    """In the process that all reports come to; Bazel's tests run without pytest's cache."""
    cache = getattr(session.config, "cache", None)
    if cache and "TFOPT_TESTS" not in os.environ and not hasattr(session.config, "workerinput"):
        cache.set(PASSED, passed)


def leave_out_what_has_passed(config, items):
    done = set(config.cache.get(PASSED, []))
    again = [item for item in items if item.nodeid in done and item.path.stem not in MORE_INSIDE]
    config.hook.pytest_deselected(items=again)
    left = {id(item) for item in again}
    items[:] = [item for item in items if id(item) not in left]


def leave_out_of_products(config, items):
    """Keeps so many of each test that each value of each `parametrize` and fixture appears."""
    uses = collections.defaultdict(collections.Counter)  # by test, of the values in those kept
    values = {id(item): values_of(item) for item in items}

    def gain(item):  # how many values are new; then those that appear seldom
        own = [uses[item.function][value] for value in values[id(item)]]
        return own.count(0), -sum(own)

    kept = {id(item) for item in items if len(values[id(item)]) < 2}
    left = [item for item in items if id(item) not in kept]
    for _, own in itertools.groupby(left, key=lambda item: item.function):
        own = list(own)
        while own := [item for item in own if gain(item)[0]]:
            best = max(own, key=gain)
            kept.add(id(best))
            uses[best.function].update(values[id(best)])
    config.hook.pytest_deselected(items=[item for item in items if id(item) not in kept])
    items[:] = [item for item in items if id(item) in kept]


def values_of(item):
    """What a test has of each of its `parametrize` and of each fixture with parameters."""
    if not hasattr(item, "callspec"):
        return []
    parameters = {name: id(value) for name, value in item.callspec.params.items()}
    found = []
    for mark in item.iter_markers("parametrize"):
        names = mark.args[0]
        names = [name.strip() for name in names.split(",")] if isinstance(names, str) else names
        found.append(tuple((name, parameters.pop(name)) for name in names))
    return [*found, *parameters.items()]


def pytest_collection_modifyitems(config, items):
    """Puts slow files first, and skips what cannot be so with the oldest Keras supported."""
    if os.environ.get("TFOPT_TESTS") != "all" and not any("::" in word for word in config.args):
        leave_out_of_products(config, items)
    if os.environ.get("TFOPT_TESTS") == "more":
        leave_out_what_has_passed(config, items)
    items.sort(key=lambda item: not any(name in item.nodeid for name in SLOW))
    for item in items if keras.__version__.startswith("3.0.") else ():
        for pattern, reason in OLDEST.items():
            if re.search(pattern, item.nodeid):
                item.add_marker(pytest.mark.skip(reason=f"the oldest: {reason}"))


@pytest.fixture(scope="session")
def mirrored():
    """Two replicas. A second strategy in the process would reuse collective keys and abort."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@pytest.fixture(scope="module", autouse=True)
def seeded_tensorflow():
    """Once a file, since TensorFlow forgets with its seed what it has made of functions."""
    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def seeded(seeded_tensorflow):
    """Before each test what layers take their seeds from."""
    random.seed(0)
    np.random.seed(0)


@pytest.fixture
def shared(monkeypatch):
    """What optimizers share of compiled functions, empty when the test begins."""
    functions = xla_functions.Compiled()
    monkeypatch.setattr(xla_functions, "SHARED", functions)
    return functions


@pytest.fixture(params=["eager", "graph", "replicas"])
def mode(request):
    """How to train: on each of how many replicas, and how a step is called."""
    from training_modes import Mode

    replicated = request.param == "replicas"
    return Mode(request.param, request.getfixturevalue("mirrored") if replicated else None)
