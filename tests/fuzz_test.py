"""Whatever comes in from outside, an optimizer takes it whole or refuses it whole.

What may be raised is `REFUSALS`. A quick profile runs with the other tests; the long one,
at least 20,000 inputs in all, with

    TFOPT_FUZZ=20000 python -m pytest tests/fuzz_test.py -s
"""

import collections
import json
import os
import pathlib
import sys

import numpy as np
import pytest
import tensorflow as tf
from cases import CASES
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from training import PLAIN, assert_same, train_on_cosines, two_variables

import tfopt

INPUTS = int(os.environ.get("TFOPT_FUZZ", 0))
SEED = int(os.environ.get("TFOPT_FUZZ_SEED", 20_000))
REFUSALS = (ValueError, TypeError, NotImplementedError)
# TensorFlow reads checkpoints, and raises what it will: IndexError for a file that is cut off.
CHECKPOINT_REFUSALS = (*REFUSALS, AssertionError, tf.errors.OpError, RuntimeError, IndexError)
ran, taken = collections.Counter(), collections.Counter()
NAMES = [case.cls.__name__ for case in CASES]


def fuzz(quick, part):
    """Settings of one target; `part` is its share of the long run."""

    def decorate(test):
        count = max(quick, int(INPUTS * part))
        chosen = settings(
            max_examples=count,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
            print_blob=True,
        )
        test = pytest.mark.timeout(max(120, count))(seed(SEED)(chosen(test)))
        return pytest.mark.filterwarnings("ignore")(test)

    return decorate


@pytest.fixture(scope="module", autouse=True)
def count():
    yield
    if INPUTS:
        print(f"\nFuzzed with seed {SEED}: {dict(ran)}, {sum(ran.values())} inputs in all;")
        print(f"of these were taken: {dict(taken)}")


@pytest.fixture(scope="module", autouse=True)
def nothing_is_imported_or_run():
    """No input may import, compile or execute anything, or start a process."""
    active, seen = [True], []
    watched = {"exec", "compile", "os.system", "subprocess.Popen", "os.exec", "pickle.find_class"}

    def audit(event, args):
        if active[0] and event in watched and _guarded:
            seen.append((event, args))

    sys.addaudithook(audit)  # there is no way to take it away again
    before = set(sys.modules)
    yield
    active[0] = False
    fuzzed = {
        name for name in set(sys.modules) - before if name.startswith(("evil", "antigravity"))
    }
    assert not fuzzed
    assert not seen, seen[:3]


_guarded = []


class guarded:
    """Where an audit hook watches."""

    def __enter__(self):
        _guarded.append(1)

    def __exit__(self, *error):
        _guarded.pop()


# --- what is thrown at it -------------------------------------------------------------------------

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["adam", "tfopt>Adam", "os.system", "__class__", "builtins", "lambda: 0", ""]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.text(max_size=6), st.integers()), inner, max_size=3),
    ),
    max_leaves=6,
)
SCHEDULE = tfopt.schedules.serialize(tfopt.schedules.ExponentialDecay(0.1, 10, 0.5))
CONFIGS = {case.name: case.make().get_config() for case in CASES}
KEYS = sorted({key for config in CONFIGS.values() for key in config} | {"lr", "decay", "use_ema"})
KEYS += [
    "clipnorm",
    "weight_decay",
    "exclude_from_weight_decay",
    "lazy",
    "jit_compile",
    "__class__",
]
MODULES = [
    "os",
    "builtins",
    "subprocess",
    "antigravity",
    "keras.optimizers",
    "tfopt.optimizers.adam",
]
configs = st.builds(
    lambda base, changes, drop: {
        key: value for key, value in {**base, **changes}.items() if key not in drop
    },
    st.sampled_from(list(CONFIGS.values())),
    st.dictionaries(
        st.one_of(st.sampled_from(KEYS), st.text(max_size=6)),
        st.one_of(values, st.just(SCHEDULE), st.floats(0, 1)),
        max_size=3,
    ),
    st.sets(st.sampled_from(KEYS), max_size=2),
)
described = st.fixed_dictionaries(
    {},
    optional={
        "class_name": st.one_of(st.sampled_from([*NAMES, "system", "eval", "Lambda"]), values),
        "config": st.one_of(configs, values),
        "module": st.one_of(st.sampled_from(MODULES), values),
        "registered_name": st.one_of(
            st.sampled_from(["tfopt>Adam", "os>system", "builtins>eval"]), values
        ),
        "build_config": values,
    },
)
dtypes = st.sampled_from(
    [
        "float32",
        "float64",
        "float16",
        "int64",
        "uint64",
        "int8",
        "bool",
        "complex64",
        "U3",
        "object",
    ]
)


@st.composite
def arrays(draw):
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    value = draw(st.sampled_from([0, 1, -1, 0.5, np.nan, np.inf, 2.0**63, 1e300]))
    with np.errstate(all="ignore"):
        return np.full(shape, value).astype(draw(dtypes))


def whole_or_not_at_all(attempt, optimizer, allowed=REFUSALS):
    """Runs `attempt`; if it refuses, the optimizer's state must be as it was."""
    before = optimizer.get_weights()
    config = optimizer.get_config()
    try:
        with guarded():
            attempt()
    except allowed:
        assert_same(optimizer.get_weights(), before)
        assert repr(optimizer.get_config()) == repr(config)
        return False
    return True


def trained(case):
    optimizer, variables = case.make(), two_variables()
    train_on_cosines(optimizer, variables, 2)
    return optimizer, variables


# --- names and configs ----------------------------------------------------------------------------


@fuzz(quick=60, part=0.2)
@given(st.one_of(values, described, st.sampled_from(NAMES)))
def test_get(identifier):
    ran["get"] += 1
    try:
        with guarded():
            made = tfopt.get(identifier)
    except REFUSALS:
        return
    assert isinstance(made, tfopt.Optimizer)
    taken["get"] += 1


@fuzz(quick=60, part=0.2)
@given(st.one_of(described, values))
def test_deserialize(config):
    ran["deserialize"] += 1
    try:
        with guarded():
            made = tfopt.deserialize(config)
    except REFUSALS:
        return
    assert isinstance(made, tfopt.Optimizer)
    json.dumps(tfopt.serialize(made))
    taken["deserialize"] += 1


@fuzz(quick=60, part=0.2)
@given(st.sampled_from(CASES), st.one_of(configs, values))
def test_from_config(case, config):
    ran["from_config"] += 1
    try:
        with guarded():
            made = case.cls.from_config(config)
    except REFUSALS:
        return
    assert type(made) is case.cls
    taken["from_config"] += 1
    assert repr(case.cls.from_config(made.get_config()).get_config()) == repr(made.get_config())


# --- state ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def examples():
    """(case, trained optimizer, its variables), one for each class."""
    return [(case, *trained(case)) for case in PLAIN]


@pytest.fixture(scope="module")
def optimizers(examples):
    return [optimizer for _, optimizer, _ in examples]


@fuzz(quick=60, part=0.16)
@given(data=st.data())
def test_set_weights(optimizers, data):
    ran["set_weights"] += 1
    optimizer = data.draw(st.sampled_from(optimizers))
    weights = optimizer.get_weights()
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, len(weights)))
        weights[at : at + data.draw(st.integers(0, 1))] = data.draw(st.lists(arrays(), max_size=1))
    given = data.draw(st.sampled_from([weights, tuple(weights), None, 3, [None], "x", {}]))
    taken["set_weights"] += whole_or_not_at_all(lambda: optimizer.set_weights(given), optimizer)


@fuzz(quick=30, part=0.04)
@given(data=st.data())
def test_set_weights_before_there_are_slots(examples, data):
    ran["set_weights, then build"] += 1
    case, full, variables = data.draw(st.sampled_from(examples))
    weights = full.get_weights()
    at = data.draw(st.integers(0, len(weights)))
    weights[at : at + data.draw(st.integers(0, 1))] = data.draw(st.lists(arrays(), max_size=1))
    optimizer = case.make()
    if not whole_or_not_at_all(lambda: optimizer.set_weights(weights), optimizer):
        return
    try:
        optimizer.build(variables)
    except REFUSALS:
        assert not optimizer.built
        assert optimizer.iterations.numpy() == 0
        return
    assert [w.shape for w in optimizer.weights] == [w.shape for w in full.weights]
    taken["set_weights, then build"] += 1


@fuzz(quick=60, part=0.16)
@given(data=st.data())
def test_load_own_variables(optimizers, data):
    ran["load_own_variables"] += 1
    optimizer = data.draw(st.sampled_from(optimizers))
    store = {}
    data.draw(st.sampled_from(optimizers)).save_own_variables(store)
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(
            st.sampled_from([*store, "pending.0", "pending.x", "slot.9", "state.iter"])
        )
        what = data.draw(st.sampled_from(["drop", "replace", "bytes", "text"]))
        if what == "drop":
            store.pop(name, None)
        elif what == "replace":
            store[name] = data.draw(arrays())
        elif what == "bytes":
            raw = bytearray(np.asarray(store.get(name, 0)).tobytes())
            if raw:
                raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
            store[name] = np.frombuffer(bytes(raw), np.uint8)
        else:
            layout = {"format": "tfopt-1", "class": type(optimizer).__name__, "slots": []}
            layout[data.draw(st.sampled_from([*layout, "more"]))] = data.draw(values)
            store["layout"] = np.frombuffer(json.dumps(layout).encode(), np.uint8)
    if data.draw(st.booleans()):
        store.pop("checksum", None)  # as in older files: then all else has to hold
    taken["load_own_variables"] += whole_or_not_at_all(
        lambda: optimizer.load_own_variables(store), optimizer
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The files of a checkpoint, by name, and a folder for damaged ones."""
    optimizer, variables = trained(next(case for case in CASES if case.cls is tfopt.Adam))
    folder = tmp_path_factory.mktemp("checkpoint")
    tf.train.Checkpoint(optimizer=optimizer, v=variables).write(str(folder / "good"))
    return {
        path.name.replace("good", "bad"): path.read_bytes() for path in folder.iterdir()
    }, folder


@fuzz(quick=60, part=0.06)
@given(data=st.data())
def test_a_damaged_checkpoint(checkpoint, examples, data):
    ran["checkpoint"] += 1
    files, folder = checkpoint
    damaged = {name: bytearray(content) for name, content in files.items()}
    name = data.draw(st.sampled_from(sorted(damaged)))
    content = damaged[name]
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(content) - 1))
            content[at] ^= 1 << data.draw(st.integers(0, 7))
    for name, content in damaged.items():
        pathlib.Path(folder / name).write_bytes(content)
    optimizer, variables = next(rest for case, *rest in examples if case.cls is tfopt.Adam)
    target = tf.train.Checkpoint(optimizer=optimizer, v=variables)

    def restore():
        target.read(str(folder / "bad")).assert_existing_objects_matched()

    taken["checkpoint"] += whole_or_not_at_all(restore, optimizer, CHECKPOINT_REFUSALS)
