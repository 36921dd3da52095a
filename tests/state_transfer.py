"""Ways in which another optimizer of the same process gets the state of one.

Each is given the optimizer and its variables, the variables that the other is for, a function that
makes an optimizer, and a folder; it gives the other optimizer, which need not have its slots yet.
"""

import copy
import pickle

import tensorflow as tf
from training import assert_same


def from_list(optimizer, variables, others, make, folder, slots_first=False):
    twin = make()
    if slots_first:
        twin.build(others)
    twin.set_weights(optimizer.get_weights())
    twin.build(others)
    assert_same(twin.get_weights(), optimizer.get_weights())
    return twin


def from_list_into_slots(*args):
    return from_list(*args, slots_first=True)


def from_store(optimizer, variables, others, make, folder, slots_first=False):
    store, twin = {}, make()
    optimizer.save_own_variables(store)
    if slots_first:
        twin.build(others)
    twin.load_own_variables(store)
    return twin


def from_store_into_slots(*args):
    return from_store(*args, slots_first=True)


def from_checkpoint(optimizer, variables, others, make, folder, slots_first=False):
    twin = make()
    if slots_first:
        twin.build(others)
    path = tf.train.Checkpoint(optimizer=optimizer, v=variables).save(str(folder / "all"))
    status = tf.train.Checkpoint(optimizer=twin, v=others).restore(path)
    twin.build(others)
    status.assert_existing_objects_matched().assert_consumed()
    return twin


def from_checkpoint_into_slots(*args):
    return from_checkpoint(*args, slots_first=True)


def from_pickle(optimizer, variables, others, make, folder):
    return pickle.loads(pickle.dumps(optimizer))


def from_deepcopy(optimizer, variables, others, make, folder):
    """The copy is for copies of the variables, which take the place of the others."""
    twin, others[:] = copy.deepcopy((optimizer, variables))
    assert_same(others, variables)
    return twin


WAYS = {
    "list": from_list,
    "list into slots": from_list_into_slots,
    "store": from_store,
    "store into slots": from_store_into_slots,
    "checkpoint": from_checkpoint,
    "checkpoint into slots": from_checkpoint_into_slots,
    "pickle": from_pickle,
    "deepcopy": from_deepcopy,
}
