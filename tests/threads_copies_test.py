"""Threads that first use what was loaded or copied, while one saves it."""

import copy
import pickle

import pytest
from threads import FEW, MAKE, THREADS, Net, Slow, at_once, check_whole, nets

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("shared")]


def trained(make):
    """An optimizer with a block of slots for each net, and the nets."""
    optimizer, made = make(), nets()
    for net in made:
        net.train(optimizer, 2)
    return optimizer, made


def check_saved(expected, *optimizers):
    """Lists of weights have the same arrays, in whatever order their blocks are."""
    for optimizer in optimizers:
        values = optimizer if isinstance(optimizer, list) else optimizer.get_weights()
        assert sorted(v.tobytes() for v in values) == sorted(v.tobytes() for v in expected)


def test_what_is_saved_while_loaded_state_finds_its_variables_is_whole():
    optimizer, _ = trained(lambda: Slow(0.1, momentum=0.9))
    expected, dumped = optimizer.get_weights(), pickle.dumps(optimizer)
    for _ in range(3):
        loaded, again, saved = pickle.loads(dumped), nets(), []

        def save(loaded=loaded, saved=saved):
            store, other = {}, Slow(0.1, momentum=0.9)
            loaded.save_own_variables(store)
            other.load_own_variables(store)
            saved.extend([pickle.loads(pickle.dumps(loaded)), other])

        at_once(*(lambda n=n, o=loaded: o.build(n.variables) for n in again), saver=save)
        check_saved(expected, loaded, *saved)


def test_a_copy_of_what_still_waits_in_part_holds_that_too():
    optimizer, _ = trained(MAKE["SGD"])
    loaded = pickle.loads(pickle.dumps(optimizer))
    loaded.build(Net(0).variables)
    check_saved(optimizer.get_weights(), pickle.loads(pickle.dumps(copy.deepcopy(loaded))))


def test_a_list_of_weights_is_not_lost_by_a_save_while_it_finds_its_variables():
    optimizer = Slow(0.1, momentum=0.9)
    made = Net(0)
    made.train(optimizer, 2)
    expected = optimizer.get_weights()
    for _ in range(10):
        loaded, again, saved = Slow(0.1, momentum=0.9), Net(0), []
        loaded.set_weights(expected)

        def save(loaded=loaded, saved=saved):
            store, other = {}, Slow(0.1, momentum=0.9)
            loaded.save_own_variables(store)
            other.load_own_variables(store)
            saved.extend([loaded.get_weights(), pickle.loads(pickle.dumps(loaded)), other])

        at_once(lambda o=loaded, n=again: o.build(n.variables), saver=save)
        check_saved(expected, loaded, *saved)


@pytest.mark.parametrize("first", ["built", "iterations", "weights", "values", "pickle", "slot"])
def test_a_deep_copy_is_whole_for_all_threads_that_use_it_first(first):
    optimizer, made = trained(lambda: Slow(0.1, momentum=0.9))
    expected, count = optimizer.get_weights(), int(optimizer.iterations)
    x = made[0].variables[0]
    for _ in range(3):
        twin = copy.deepcopy(optimizer)
        uses = {
            "built": lambda o=twin: o.built or pytest.fail("not built"),
            "iterations": lambda o=twin: int(o.iterations) == count or pytest.fail("no count"),
            "weights": lambda o=twin: len(o.weights) == len(expected) or pytest.fail("too few"),
            "values": lambda o=twin: check_saved(expected, o),
            "pickle": lambda o=twin: check_saved(expected, pickle.loads(pickle.dumps(o))),
            "slot": lambda o=twin: o.get_slot(x, "momentum"),
        }
        at_once(*[uses[first]] * 4)
        check_saved(expected, twin)
        assert twin.get_slot(x, "momentum") is not optimizer.get_slot(x, "momentum")


def test_deep_copies_are_stepped_first_in_several_threads_at_once():
    optimizer, made = trained(lambda: Slow(0.1, momentum=0.9))
    twin, again = copy.deepcopy((optimizer, made))
    at_once(*(lambda n=n: n.train(twin, FEW) for n in again))
    assert int(twin.iterations) == int(optimizer.iterations) + THREADS * FEW
    check_whole(twin, again, ["momentum"])
    for net, other in zip(made, again, strict=True):
        net.train(optimizer, FEW)
        assert net.values(optimizer) == other.values(twin)
