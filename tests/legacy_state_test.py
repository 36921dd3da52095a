"""State of tfopt.legacy: checkpoints and lists go both ways, copies go on by themselves."""

import copy
import pickle

import numpy as np
import pytest
import tensorflow as tf
from either_base import (
    OURS,
    V2,
    each_base,
    each_fixture,
    each_of_eight,
    new_variables,
    random_steps,
)
from training import assert_same, train, values_of

import tfopt


@pytest.mark.parametrize("deferred", [False, True], ids=["built", "deferred"])
@pytest.mark.parametrize("source, target", [(V2, OURS), (OURS, V2)], ids=["from_v2", "to_v2"])
@each_fixture
def test_checkpoints_go_both_ways(make, source, target, deferred, tmp_path):
    steps = random_steps(8, repeated=False)
    optimizer, variables = make(source), new_variables()
    train(optimizer, variables, steps[:4])
    path = tf.train.Checkpoint(optimizer=optimizer, variables=variables).save(
        str(tmp_path / "ckpt")
    )

    restored, new = make(target), new_variables()
    if not deferred:
        restored._create_all_weights(new)
    status = tf.train.Checkpoint(optimizer=restored, variables=new).restore(path)
    for opt, vs in ((optimizer, variables), (restored, new)):
        train(opt, vs, steps[4:])
    status.assert_consumed().assert_existing_objects_matched()
    for expected, actual in zip(variables, new, strict=True):
        np.testing.assert_allclose(actual.numpy(), expected.numpy(), 1e-10, 1e-10)
    by_name = [
        {s: o.get_slot(v[0], s).numpy() for s in o.get_slot_names()}
        for o, v in ((optimizer, variables), (restored, new))
    ]
    assert by_name[0].keys() == by_name[1].keys()
    for slot, expected in by_name[0].items():
        np.testing.assert_allclose(by_name[1][slot], expected, 1e-10, 1e-10)


@each_fixture
def test_weights_go_both_ways(make):
    steps = random_steps(8, repeated=False)
    for source, target in ((V2, OURS), (OURS, V2)):
        optimizer, variables = make(source), new_variables()
        train(optimizer, variables, steps[:4])
        restored, new = make(target), new_variables()
        for variable, other in zip(new, variables, strict=True):
            variable.assign(other)
        restored._create_all_weights(new)
        restored.set_weights(optimizer.get_weights())
        for opt, vs in ((optimizer, variables), (restored, new)):
            train(opt, vs, steps[4:])
        assert_same(values_of(new, restored), values_of(variables, optimizer), 1e-10)


@each_base
def test_what_is_an_attribute_is_not_in_the_checkpoint(legacy, tmp_path):
    class Holding(legacy.SGD):
        def _create_slots(self, var_list):
            self.held = [self.add_slot(var, "kept") for var in var_list]
            self.other = legacy.Adam()

    x = tf.Variable(1.0)
    optimizer = Holding()
    optimizer.apply_gradients([(tf.constant(1.0), x)])
    path = tf.train.Checkpoint(optimizer=optimizer, x=x).save(str(tmp_path / "ckpt"))
    names = {name.split("/.ATTR")[0] for name, _ in tf.train.list_variables(path)}
    assert names - {"save_counter", "_CHECKPOINTABLE_OBJECT_GRAPH"} == {
        "x",
        "x/.OPTIMIZER_SLOT/optimizer/kept",
        "optimizer/iter",
        "optimizer/learning_rate",
        "optimizer/decay",
        "optimizer/momentum",
    }


def test_weights_that_do_not_fit_raise():
    x = tf.Variable(1.0)
    optimizer = OURS.Adam()
    optimizer.set_weights([np.array(3), np.zeros(2)])
    with pytest.raises(ValueError, match="weights"):
        optimizer.apply_gradients([(tf.constant(1.0), x)])
    with pytest.raises(ValueError, match="shape"):
        optimizer.set_weights([np.array(3), np.zeros(2), np.zeros(())])
    optimizer.set_weights([np.array(3), np.ones(()), np.zeros(())])
    assert [w.numpy() for w in optimizer.weights] == [3, 1, 0]


@each_fixture
def test_a_deep_copy_goes_on_by_itself(make):
    steps = random_steps(6)
    optimizer, variables = make(OURS), new_variables()
    train(optimizer, variables, steps[:3])
    twin, twin_variables = copy.deepcopy((optimizer, variables))
    for opt, vs in ((twin, twin_variables), (optimizer, variables)):
        train(opt, vs, steps[3:])
    assert_same(values_of(twin_variables, twin), values_of(variables, optimizer))
    assert not {id(w) for w in optimizer.weights} & {id(w) for w in twin.weights}
    alone = copy.deepcopy(optimizer)
    assert alone.get_slot_names() == optimizer.get_slot_names()
    for name in alone.get_slot_names():
        expected = optimizer.get_slot(variables[0], name).numpy()
        np.testing.assert_array_equal(alone.get_slot(variables[0], name).numpy(), expected)


@each_of_eight
def test_a_pickle_holds_the_state(name):
    optimizer, variables = getattr(OURS, name)(0.05), new_variables()
    train(optimizer, variables, random_steps(3))
    again, other = pickle.loads(pickle.dumps(optimizer)), new_variables()
    for variable, value in zip(other, variables, strict=True):
        variable.assign(value)
    for opt, vs in ((optimizer, variables), (again, other)):
        train(opt, vs, random_steps(2))
    assert_same(values_of(other, again), values_of(variables, optimizer))


def test_an_optimizer_that_keeps_a_tensor_of_a_trace_is_copied():
    optimizer, variable = tfopt.legacy.Nadam(0.1), tf.Variable([1.0])

    @tf.function
    def step():
        optimizer.apply_gradients([(tf.ones([1]), variable)])

    step()
    twin, other = copy.deepcopy((optimizer, variable))
    step()
    twin.apply_gradients([(tf.ones([1]), other)])
    assert_same(other, variable)
