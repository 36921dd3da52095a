"""State that is wrong or damaged is refused whole, by name, whatever it comes in."""

import copy
import gc
import pathlib
import pickle
import weakref
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from models import each_library, linear_model
from training import assert_same, each_kind, train_on_cosines, two_variables

import tfopt


def trained(optimizer, variables=None):
    variables = variables or two_variables()
    train_on_cosines(optimizer, variables, 2)
    return optimizer, variables


def make_model(library, optimizer):
    model = linear_model(library, optimizer, outputs=2)
    trained(optimizer, model.trainable_variables)
    return model


def refused(load, optimizer, *words, error=ValueError):
    """`load` raises, names the words, and changes nothing of the optimizer."""
    before = optimizer.get_weights()
    with pytest.raises(error) as raised:
        load()
    for word in words:
        assert word in str(raised.value)
    assert_same(optimizer.get_weights(), before)


# --- lists ----------------------------------------------------------------------------------------

WRONG = {
    "one too few": (lambda w: w[:-1], "must have 5 arrays"),
    "one too many": (lambda w: [*w, np.zeros(3)], "must have 5 arrays"),
    "a shape": (lambda w: [*w[:2], w[2].reshape(1, 2), *w[3:]], "shape (2, 1) for `Adam/b/m`"),
    "an order": (lambda w: [w[0], w[2], w[1], *w[3:]], "shape (3,) for `Adam/a/m`"),
    "text": (lambda w: [*w[:4], w[4].astype(str)], "numbers for `Adam/b/v`"),
    "complex numbers": (lambda w: [*w[:4], w[4].astype(complex)], "numbers for `Adam/b/v`"),
    "part of a step": (lambda w: [np.array(1.5), *w[1:]], "whole numbers for `Adam/iter`"),
    "no number of steps": (lambda w: [np.array(np.inf), *w[1:]], "whole numbers for `Adam/iter`"),
    "too many steps": (lambda w: [np.array(2**63, np.uint64), *w[1:]], "whole numbers"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_lists(fault):
    optimizer, _ = trained(tfopt.Adam())
    damage, words = WRONG[fault]
    weights = damage([w + 1 for w in optimizer.get_weights()])
    refused(lambda: optimizer.set_weights(weights), optimizer, words)


# --- Keras' stores and files ----------------------------------------------------------------------


def sealed(optimizer):
    store = {}
    optimizer.save_own_variables(store)
    return store


@each_kind
def test_every_array_of_a_store_is_under_the_checksum(case):
    optimizer, _ = trained(case.make())
    store = sealed(optimizer)
    optimizer.load_own_variables(store)
    for name in store:
        for where in (0, -1):
            damaged = {key: np.array(value) for key, value in store.items()}
            raw = bytearray(damaged[name].tobytes())
            raw[where] ^= 16
            damaged[name] = np.frombuffer(bytes(raw), damaged[name].dtype).reshape(
                damaged[name].shape
            )
            refused(lambda d=damaged: optimizer.load_own_variables(d), optimizer, "checksum")
        missing = {key: value for key, value in store.items() if key != name}
        if name not in ("layout", "checksum"):
            refused(lambda m=missing: optimizer.load_own_variables(m), optimizer, "checksum")


def test_a_store_without_a_checksum_is_read_and_checked():
    """Files of the first version have none."""
    optimizer, _ = trained(tfopt.Adam())
    store = {name: value for name, value in sealed(optimizer).items() if name != "checksum"}
    fresh, _ = trained(tfopt.Adam(), two_variables())
    fresh.load_own_variables(store)
    assert_same(fresh.get_weights(), optimizer.get_weights())
    for change, words in (
        ({"layout": np.zeros(3, np.uint8)}, "layout"),
        ({"layout": np.frombuffer(b"[]", np.uint8)}, "layout"),
    ):
        refused(lambda c=change: fresh.load_own_variables({**store, **c}), fresh, words)
    before = fresh.get_weights()
    with pytest.warns(tfopt.TfoptWarning, match="whole numbers"):  # and a model would load
        fresh.load_own_variables({**store, "state.iterations": np.array(0.5)})
    assert_same(fresh.get_weights(), before)
    del store["slot.3"]
    refused(lambda: fresh.load_own_variables(store), fresh, "fewer slots")


@each_library
def test_a_flipped_bit_in_a_weights_file(library, tmp_path):
    """HDF5 has no checksum of its own: the one in it covers the optimizer's state."""
    model = make_model(library, tfopt.Adam())
    path = tmp_path / "model.weights.h5"
    model.save_weights(str(path))
    content = path.read_bytes()
    other = make_model(library, tfopt.Adam())
    trained(other.optimizer, other.trainable_variables)
    for slot in model.optimizer.weights[1:]:
        raw = slot.numpy().tobytes()
        assert content.count(raw) == 1
        at = content.index(raw) + 5
        path.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        refused(lambda: other.load_weights(str(path)), other.optimizer, "checksum")
    path.write_bytes(content)
    other.load_weights(str(path))
    assert other.optimizer.iterations.numpy() == 2


@each_library
@pytest.mark.parametrize("extension", [".keras", ".h5", ".weights.h5"])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.98])
def test_a_file_that_is_cut_off(library, extension, keep, tmp_path):
    model = make_model(library, tfopt.Adam())
    path = tmp_path / f"model{extension}"
    weights_only = extension == ".weights.h5"
    (model.save_weights if weights_only else model.save)(str(path))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    load = model.load_weights if weights_only else library.models.load_model
    refused(lambda: load(str(path)), model.optimizer, error=Exception)


@each_library
def test_a_flipped_bit_in_a_keras_archive(library, tmp_path):
    path = tmp_path / "model.keras"
    make_model(library, tfopt.Adam()).save(str(path))
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        inside = [info.header_offset + 200 for info in archive.infolist()]
    for at in inside:
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(Exception, match="CRC|corrupt|bad"):
            library.models.load_model(str(path))


# --- tf.train.Checkpoint --------------------------------------------------------------------------


def written(folder, variables, optimizer):
    return tf.train.Checkpoint(v=variables, optimizer=optimizer).write(str(folder / "ckpt"))


def test_a_checkpoint_of_other_shapes(tmp_path):
    """Slots are looked at before TensorFlow restores anything."""
    optimizer, variables = trained(tfopt.Adam())
    path = written(tmp_path, variables, optimizer)
    wide = [tf.Variable(tf.ones((4,)), name="a"), tf.Variable(tf.ones((2, 2)), name="b")]
    other, _ = trained(tfopt.Adam(), wide)
    target = tf.train.Checkpoint(v=wide, optimizer=other)
    refused(lambda: target.read(path), other, "shape (4,) for slot `m` of `a`")


@pytest.mark.filterwarnings("ignore:The checkpoint has changed")
def test_a_slot_restored_early_in_another_shape(tmp_path):
    """Before the optimizer has slots: it is found when it would get them."""
    matrix = [tf.Variable(tf.ones((3, 2)), name="a")]

    class Whole(tfopt.SGD):
        def slots(self, x):
            return {"r": tfopt.zeros(x), "c": tfopt.zeros(x)}

        def update(self, g, x, s, h):
            return x - g

    optimizer, _ = trained(Whole(), matrix)
    path = written(tmp_path, matrix, optimizer)
    factored = tfopt.Adafactor()
    tf.train.Checkpoint(v=matrix, optimizer=factored).read(path).expect_partial()
    with pytest.raises(ValueError, match="shape .3,. for slot `r` of `a`"):
        factored.build(matrix)
    assert not factored.built


@pytest.mark.parametrize("part", ["data", "index"])
@pytest.mark.parametrize("damage", ["cut off", "a bit"])
def test_a_damaged_checkpoint(part, damage, tmp_path):
    optimizer, variables = trained(tfopt.Adam())
    path = written(tmp_path, variables, optimizer)
    other, others = trained(tfopt.Adam(), [tf.Variable(v + 1) for v in two_variables()])
    target = tf.train.Checkpoint(v=others, optimizer=other)
    file = next(pathlib.Path(tmp_path).glob(f"ckpt.{part}*"))
    content = file.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    file.write_bytes(flipped if damage == "a bit" else content[:middle])
    refused(lambda: target.read(path), other, error=Exception)


# --- copies ---------------------------------------------------------------------------------------


class HalfSlots(tfopt.Optimizer):
    """Keeps a slot of the variable's own dtype."""

    learning_rate = tfopt.Hyper(0.5, low=0)

    def create_slots(self, var_list):
        for variable in var_list:
            self.add_slot(variable, "sum")

    def resource_apply_dense(self, grad, var):
        total = self.get_slot(var, "sum")
        total.assign_add(grad)
        var.assign_sub(tf.cast(self.learning_rate, var.dtype) * total)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_slots_of_half_precision(dtype):
    variables = [tf.Variable([1.0, 2.0], dtype=dtype, name="x")]
    optimizer, _ = trained(HalfSlots(), variables)
    loaded, listed = HalfSlots(), HalfSlots()
    loaded.load_own_variables(sealed(optimizer))
    listed.set_weights(optimizer.get_weights())
    for again in (pickle.loads(pickle.dumps(optimizer)), copy.deepcopy(optimizer), loaded, listed):
        again.build(variables)
        slot = again.get_slot(variables[0], "sum")
        assert slot.dtype == dtype
        np.testing.assert_array_equal(
            np.array(slot, np.float32), np.array(optimizer.get_slot(variables[0], "sum"), "f4")
        )


def test_slots_keep_their_variable_alive():
    """So state never loses its meaning; copies hold the slots of variables that are gone."""
    optimizer, variables = trained(tfopt.Adam())
    gone = weakref.ref(variables[0])
    del variables[0]
    gc.collect()
    assert gone() is not None
    for again in (pickle.loads(pickle.dumps(optimizer)), copy.deepcopy(optimizer)):
        assert_same(again.get_weights(), optimizer.get_weights())


def test_a_pickle_that_is_cut_off():
    optimizer, _ = trained(tfopt.Adam())
    content = pickle.dumps(optimizer)
    for keep in (0, len(content) // 2, len(content) - 1):
        with pytest.raises((EOFError, pickle.UnpicklingError)):
            pickle.loads(content[:keep])
