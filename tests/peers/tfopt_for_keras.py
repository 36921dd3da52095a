"""A pytest plugin: Keras' own tests, where they are installed, find tfopt's classes.

Before a file is collected, tfopt's optimizers, schedules and initializers stand wherever Keras'
stood: in each module that names one, and in the tables by which strings are looked up. Without
`--tfopt` nothing is replaced. Either way it is counted how many objects of tfopt and of Keras each
file has constructed, and `--report` names the file for the counts and the outcomes.
"""

from __future__ import annotations

import collections
import functools
import json
import sys
import types
from pathlib import Path

import keras
import pytest
import tensorflow as tf

OPTIMIZERS = (
    "SGD", "RMSprop", "Adam", "AdamW", "Adadelta", "Adagrad", "Adamax", "Nadam", "Ftrl", "Lion",
    "Lamb", "Adafactor", "Muon", "ScheduleFreeAdamW", "LossScaleOptimizer", "MultiOptimizer",
    "OptimizerMap",
)  # fmt: skip
SOURCES = Path(keras.__file__).parent / "src"

constructed: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
outcomes: dict[str, str] = {}
current = "outside of tests"


def pytest_addoption(parser):
    parser.addoption("--tfopt", action="store_true", help="put tfopt's classes in Keras' place")
    parser.addoption("--report", help="where to write counts and outcomes, as JSON")


def pytest_configure(config):
    """Before any file is collected."""
    config.addinivalue_line("markers", "requires_trainable_backend: TensorFlow's is one")
    config.addinivalue_line("markers", "multi_device: asks for several devices")
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    sys.modules["conftest"] = stand_in_for_conftest()
    count_calls(keras.Optimizer, "__init__", "optimizers of Keras")
    if config.getoption("--tfopt"):
        import tfopt

        replace(replacements(tfopt))
        count_calls(tfopt.Optimizer, "__init__", "optimizers of tfopt")
        count_calls(tfopt.LossScaleOptimizer, "__init__", "optimizers of tfopt")


def stand_in_for_conftest():
    """What Keras' tests import from the file beside its sources, which no wheel holds."""
    module = types.ModuleType("conftest")
    module.skip_if_backend = lambda backend, reason: pytest.mark.skipif(
        keras.backend.backend() == backend, reason=reason
    )
    return module


def replacements(tfopt):
    """Each class of Keras that tfopt has, too, and tfopt's."""
    pairs = {
        getattr(keras.optimizers, name): getattr(tfopt, name, None) or tfopt.LAMB
        for name in OPTIMIZERS
    }
    for theirs, ours in (
        (keras.optimizers.schedules, tfopt.schedules.SCHEDULES),
        (keras.initializers, tfopt.initializers.INITIALIZERS),
    ):
        pairs |= {
            getattr(theirs, cls.__name__): cls for cls in ours if hasattr(theirs, cls.__name__)
        }
    return pairs


def replace(pairs):
    """Puts a class in the place of another, in all modules of Keras and the tables in them."""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "keras" and module is not None:
            exchange(vars(module), pairs)


def exchange(names, pairs, deep=True):
    for name, value in list(names.items()):
        if isinstance(value, type) and value in pairs:
            names[name] = pairs[value]
        elif deep and type(value) is dict and name.isupper():
            exchange(value, pairs, deep=False)


def count_calls(cls, method, what):
    """Counts for the current file how often a method is called: a constructor, for example."""
    function = getattr(cls, method)

    @functools.wraps(function)
    def counting(self, *args, **kwargs):
        constructed[current][what] += 1
        return function(self, *args, **kwargs)

    setattr(cls, method, counting)


def name_of(path):
    path = Path(path)
    return str(path.relative_to(SOURCES)) if path.is_relative_to(SOURCES) else str(path)


def set_current(path):
    global current
    current = name_of(path)


def pytest_pycollect_makemodule(module_path):
    set_current(module_path)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):
    set_current(item.path)


def pytest_collectreport(report):
    if report.failed:
        outcomes[f"{report.nodeid}::collection"] = "failed"


def pytest_runtest_logreport(report):
    """A test has the worst outcome of its phases."""
    test = report.nodeid
    if report.failed or (report.skipped and outcomes.get(test) != "failed"):
        outcomes[test] = report.outcome
    elif report.when == "call":
        outcomes.setdefault(test, report.outcome)


def pytest_sessionfinish(session):
    report = session.config.getoption("--report")
    if report:
        Path(report).write_text(json.dumps({"outcomes": outcomes, "made": constructed}))
