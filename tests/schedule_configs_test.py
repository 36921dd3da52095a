"""Schedules as configs: written, read, compared, shown, and what is refused."""

import json
import pickle
import sys
from copy import deepcopy

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from schedule_cases import CASES, KERAS_CASES, STEPS, assert_rates, make

from tfopt import schedules

KERASES = {"keras": keras.optimizers.schedules, "tf_keras": tf_keras.optimizers.schedules}
C_ARGS = {"initial_learning_rate": 0.1, "decay_steps": 10}


def test_configs_are_those_of_keras():
    for case in KERAS_CASES:
        assert make(case).get_config() == make(case, keras.optimizers.schedules).get_config()


def test_configs_hold_the_arguments():
    for case in CASES:
        config = make(case).get_config()
        assert json.loads(json.dumps(config)) == config
        copy = type(make(case)).from_config(config)
        assert copy == make(case) and hash(copy) == hash(make(case))


def test_equal_by_class_and_config():
    a = schedules.ExponentialDecay(0.1, 10, 0.5)
    assert a != schedules.ExponentialDecay(0.2, 10, 0.5)
    assert a != schedules.InverseTimeDecay(0.1, 10, 0.5)
    assert a != "ExponentialDecay"
    double = schedules.ExponentialDecay(tf.constant(0.1, tf.float64), 10, 0.5)
    single = schedules.ExponentialDecay(tf.constant(0.1, tf.float32), 10, 0.5)
    assert double != single and double == schedules.ExponentialDecay(np.float64(0.1), 10, 0.5)


def test_repr_shows_the_config():
    schedule = schedules.InverseTimeDecay(0.1, 10, 0.5)
    assert repr(schedule) == (
        "InverseTimeDecay(initial_learning_rate=0.1, decay_steps=10, decay_rate=0.5, "
        "staircase=False, name='InverseTimeDecay')"
    )
    assert eval(repr(schedule), vars(schedules)) == schedule


def test_repr_shows_schedules_inside_of_others():
    schedule = schedules.Warmup(schedules.Sequence([0.1, schedules.LinearDecay(0.1, 3)], [2]), 4)
    assert repr(schedule) == (
        "Warmup(schedule=Sequence(schedules=[0.1, LinearDecay(initial_learning_rate=0.1, "
        "decay_steps=3, end_learning_rate=0.0, name='LinearDecay')], boundaries=[2], "
        "name='Sequence'), warmup_steps=4, initial_learning_rate=0.0, name='Warmup')"
    )
    assert eval(repr(schedule), vars(schedules)) == schedule


def test_equal_if_the_schedules_inside_are_equal():
    a = schedules.Warmup(schedules.LinearDecay(0.1, 3), 4)
    assert a == schedules.Warmup(schedules.LinearDecay(0.1, 3), 4)
    assert a != schedules.Warmup(schedules.LinearDecay(0.1, 5), 4)
    assert a != schedules.Warmup(schedules.LinearDecay(np.float64(0.1), 3), 4)
    assert a != schedules.Warmup(0.1, 4)


def test_schedules_lists_all():
    assert sorted(cls.__name__ for cls in schedules.SCHEDULES) == sorted(
        {name for name, *_ in CASES.values()}
    )


def test_serialized_form():
    for schedule in map(make, CASES):
        serialized = schedules.serialize(schedule)
        name = type(schedule).__name__
        assert serialized == {
            "module": "tfopt.schedules",
            "class_name": name,
            "config": schedule.get_config(),
            "registered_name": f"tfopt>{name}",
        }
        assert schedules.deserialize(json.loads(json.dumps(serialized))) == schedule


@pytest.mark.parametrize("library", KERASES)
def test_reads_what_keras_writes(library):
    for case in KERAS_CASES:
        serialized = KERASES[library].serialize(make(case, KERASES[library]))
        schedule = schedules.deserialize(json.loads(json.dumps(serialized)))
        assert type(schedule) is getattr(schedules, CASES[case][0])
        assert_rates(schedule(tf.constant(STEPS)), make(case)(tf.constant(STEPS)).numpy())


@pytest.mark.parametrize("library", KERASES)
def test_schedules_of_keras_inside_of_others_become_ours(library):
    theirs = KERASES[library].CosineDecay(0.1, 14, 0.1)
    schedule = schedules.Sequence([0.1, schedules.Warmup(theirs, 7)], [5])
    copy = schedules.deserialize(json.loads(json.dumps(schedules.serialize(schedule))))
    assert copy.schedules[1].schedule == schedules.CosineDecay(0.1, 14, 0.1, name=theirs.name)
    for step in range(30):
        np.testing.assert_allclose(copy(step), schedule(step), rtol=1e-6)


def test_reads_the_legacy_form():
    legacy = tf_keras.optimizers.schedules.serialize(
        tf_keras.optimizers.schedules.CosineDecay(0.1, 10), use_legacy_format=True
    )
    assert sorted(legacy) == ["class_name", "config"]
    assert schedules.deserialize(legacy) == schedules.CosineDecay(0.1, 10, name=None)


@pytest.mark.parametrize("library", KERASES)
def test_keras_reads_what_is_written_here(library):
    schedule = schedules.CosineDecay(0.1, 10, 0.2)
    copy = KERASES[library].deserialize(
        schedules.serialize(schedule),
        custom_objects={f"tfopt>{cls.__name__}": cls for cls in schedules.SCHEDULES},
    )
    assert copy == schedule


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float32, tf.float64])
def test_tensors_keep_their_dtype_when_serialized(dtype):
    schedule = schedules.CosineDecay(tf.constant(0.1, dtype), 10)
    inside = schedules.Sequence([schedule, schedules.Warmup(tf.constant(0.1, dtype), 5)], [4])
    for one in (schedule, inside):
        copy = schedules.deserialize(json.loads(json.dumps(schedules.serialize(one))))
        assert copy == one and copy(3).dtype == dtype and copy(3) == one(3)


def test_reads_tensors_arrays_and_tuples_of_keras():
    theirs = keras.optimizers.schedules
    cosine = theirs.serialize(theirs.CosineDecay(tf.constant(0.1, tf.float64), 10))
    assert schedules.deserialize(cosine)(0).dtype == tf.float64
    piecewise = theirs.serialize(theirs.PiecewiseConstantDecay((1, 2), np.array([0.1, 0.2, 0.3])))
    assert schedules.deserialize(piecewise).boundaries == [1, 2]
    assert float(schedules.deserialize(piecewise)(2)) == 0.2
    written = {"class_name": "__tuple__", "items": [1, 2]}
    config = {"boundaries": written, "values": [0.1, 0.2, 0.3]}
    config = {"class_name": "PiecewiseConstantDecay", "config": config}
    assert schedules.deserialize(config).boundaries == [1, 2]


GOOD = {"module": "keras.optimizers.schedules", "class_name": "CosineDecay", "config": C_ARGS}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"class_name": "NoSuchDecay"}, "NoSuchDecay"),
        ({"class_name": "cosinedecay"}, "cosinedecay"),
        ({"class_name": "LearningRateSchedule"}, "LearningRateSchedule"),
        ({"class_name": "serialize"}, "serialize"),
        ({"class_name": "tfopt.schedules.CosineDecay"}, "tfopt.schedules.CosineDecay"),
        ({"class_name": None}, "None"),
        ({"class_name": ["CosineDecay"]}, "['CosineDecay']"),
        ({"module": "antigravity"}, "antigravity"),
        ({"module": "antigravity", "class_name": "geohash"}, "antigravity"),
        ({"registered_name": "other>CosineDecay"}, "other>CosineDecay"),
        ({"config": None}, "None"),
        ({"config": [1]}, "[1]"),
        ({"config": {**C_ARGS, "decay_rate": 0.5}}, "decay_rate"),
        ({"config": {"decay_steps": 10}}, "initial_learning_rate"),
        ({"config": {**C_ARGS, 3: 4}}, "3"),
        ({"config": {**C_ARGS, "decay_steps": 0}}, "decay_steps"),
        (
            {
                "config": {
                    **C_ARGS,
                    "initial_learning_rate": {"class_name": "__tensor__", "config": {"value": 0.1}},
                }
            },
            "dtype",
        ),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_refuses_bad_configs(change, told):
    assert schedules.deserialize(GOOD) == schedules.CosineDecay(0.1, 10)
    before = set(sys.modules)
    with pytest.raises(ValueError) as error:
        schedules.deserialize({**GOOD, **change})
    assert told in str(error.value)
    assert "antigravity" not in set(sys.modules) - before


def test_refuses_what_is_no_config():
    for config in (None, "CosineDecay", [GOOD], 3):
        with pytest.raises(ValueError) as error:
            schedules.deserialize(config)
        assert repr(config) in str(error.value)


def test_refuses_to_serialize_what_is_no_schedule():
    with pytest.raises(ValueError, match="`schedule` must be a LearningRateSchedule; got 0.1"):
        schedules.serialize(0.1)


class Halving(schedules.LearningRateSchedule):
    def __init__(self, start, steps=1):
        self.start = start
        self.steps = steps

    def __call__(self, step):
        return self.start * 0.5 ** (tf.cast(step, tf.float32) / self.steps)


class Private(schedules.LearningRateSchedule):
    def __init__(self, start):
        self._start = start

    def __call__(self, step):
        return self._start


def test_custom_schedules_have_configs_and_are_found_only_when_given():
    serialized = schedules.serialize(Halving(0.1, 5))
    assert serialized["config"] == {"start": 0.1, "steps": 5}
    assert schedules.deserialize(serialized, {"Halving": Halving}) == Halving(0.1, 5)
    with pytest.raises(ValueError, match="Halving"):
        schedules.deserialize(serialized)
    with pytest.raises(ValueError, match="Halving"):
        schedules.deserialize(serialized, {"Halving": "no class"})


def test_custom_objects_are_found_by_registered_name_and_come_first():
    config = {"module": "mine", "class_name": "CosineDecay", "registered_name": "mine>CosineDecay"}
    config["config"] = {"start": 0.1}
    found = schedules.deserialize(config, {"mine>CosineDecay": Halving})
    assert found == Halving(0.1)
    found = schedules.deserialize(
        {"class_name": "CosineDecay", "config": {"start": 0.1}}, {"CosineDecay": Halving}
    )
    assert found == Halving(0.1)


def test_custom_schedules_inside_of_others_are_found_where_given_or_registered():
    schedule = schedules.Warmup(schedules.Sequence([0.1, Halving(0.1, 5)], [3]), 4)
    config = json.loads(json.dumps(schedules.serialize(schedule)))
    assert schedules.deserialize(config, {"Halving": Halving}) == schedule
    with pytest.raises(ValueError, match="Halving"):
        schedules.deserialize(config)
    for library in (keras, tf_keras):
        with library.saving.custom_object_scope({"Halving": Halving}):
            assert schedules.deserialize(config) == schedule
        scope = {"Halving": Halving}
        assert library.optimizers.schedules.deserialize(config, custom_objects=scope) == schedule


@pytest.mark.parametrize(
    ("inside", "told"),
    [
        ({"class_name": "NoSuchDecay", "config": {}}, "NoSuchDecay"),
        ({"class_name": "tfopt>Zeros", "registered_name": "tfopt>Zeros", "config": {}}, "schedule"),
        ({"module": "antigravity", "class_name": "geohash", "config": {}}, "antigravity"),
        ({"initial_learning_rate": 0.1}, "initial_learning_rate"),
        ("0.1", "'0.1'"),
        (-1.0, "-1.0"),
    ],
)
def test_refuses_bad_configs_inside_of_others(inside, told):
    for config in (
        {"class_name": "Warmup", "config": {"schedule": inside, "warmup_steps": 3}},
        {"class_name": "Sequence", "config": {"schedules": [0.1, inside], "boundaries": [3]}},
    ):
        with pytest.raises(ValueError) as error:
            schedules.deserialize(config)
        assert told in str(error.value)
    assert "antigravity" not in sys.modules


def test_pickles_and_copies():
    for case in CASES:
        assert pickle.loads(pickle.dumps(make(case))) == make(case)
        assert deepcopy(make(case)) == make(case)


def test_a_schedule_without_config_says_so_when_asked():
    schedule = Private(0.1)
    assert "Private" in repr(schedule) and schedule == schedule
    with pytest.raises(NotImplementedError, match="Private must override `get_config`"):
        schedule.get_config()


def test_the_base_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        schedules.LearningRateSchedule()
