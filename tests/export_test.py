"""A train step in a SavedModel goes on in processes with and without tfopt and tf-keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from cases import CASES
from models import linear_model
from processes import run_python
from training import ALL, of_each_kind

import tfopt

STEPS = 3

# argv: what the process may import; what the steps must give; then SavedModels.
LOADER = """
import builtins, sys

kind, expected, *paths = sys.argv[1:]
real_import = builtins.__import__


def without(name, *args, **kwargs):
    if name.split(".")[0] in ("tfopt", "tf_keras"):
        raise ImportError(name)
    return real_import(name, *args, **kwargs)


if kind == "bare":
    builtins.__import__ = without
elif kind == "tf_keras":
    import tf_keras
else:
    import tfopt
import numpy as np
import tensorflow as tf

loaded = [tf.saved_model.load(path) for path in paths]
for name, values in np.load(expected).items():
    for value in values:
        got = loaded[0].trainers[name].step(tf.constant(0.5))
        np.testing.assert_array_equal(got, value, err_msg=name)
    print("went on:", name)
if kind == "tf_keras":  # which makes optimizers of its own of what it loads, and saves them
    for path in (paths[0], paths[-1]):
        for again in (path + "_again", path + "_once_more"):
            model = tf_keras.models.load_model(path)
            tf.saved_model.save(model, again)
            path = again
        step = model.step if hasattr(model, "step") else model.trainers["Adam"].step
        print("saved again:", np.isfinite(step(tf.constant(0.5))).all())
print(*({"tfopt", "tf_keras"} & sys.modules.keys()))
"""


class Trainer(tf.Module):
    """Dense variables, and a table with gradients of rows."""

    def __init__(self, opt):
        super().__init__()
        self.v = [tf.Variable([1.0, 2.0, 3.0]), tf.Variable(tf.ones((4, 2)))]
        self.opt = opt

    @tf.function(input_signature=[tf.TensorSpec((), tf.float32)])
    def step(self, x):
        rows = tf.IndexedSlices(tf.ones((2, 2)) * x, tf.constant([1, 1]), tf.constant([4, 2]))
        self.opt.apply_gradients(zip([tf.cos(self.v[0] + x), rows], self.v, strict=True))
        return tf.concat([tf.reshape(v, [-1]) for v in self.v], 0)


def make_trainer(case):
    rate = tfopt.schedules.ExponentialDecay(0.125, 2, 0.5)
    trainer = Trainer(case.make(learning_rate=rate, global_clipnorm=1.0))
    trainer.step(tf.constant(0.5))
    return trainer


def fitted_model(library):
    model = linear_model(library, tfopt.Nadam(0.05))
    model.fit(np.ones((4, 3)), np.ones((4, 1)), verbose=0)
    return model


CHOSEN = of_each_kind(CASES)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A SavedModel of train steps and some of Keras models, and what the steps must give."""
    folder = tmp_path_factory.mktemp("exported")
    all_of_them = tf.Module()
    all_of_them.trainers = {case.name: make_trainer(case) for case in CHOSEN}
    paths = [str(folder / name) for name in ("steps", "keras", "tf_keras", "tf_keras_save")]
    scaled = Trainer(tfopt.LossScaleOptimizer(tfopt.Adam(0.125)))
    scaled.step(tf.constant(0.5))
    tf.saved_model.save(all_of_them, paths[0])
    for library, path in zip((keras, tf_keras), paths[1:], strict=False):
        tf.saved_model.save(fitted_model(library), path)
    fitted_model(tf_keras).save(paths[3], save_format="tf")
    expected = {
        name: [trainer.step(tf.constant(0.5)) for _ in range(STEPS)]
        for name, trainer in all_of_them.trainers.items()
    }
    np.savez(folder / "expected.npz", **expected)
    tf.saved_model.save(scaled, str(folder / "scaled"))
    return [str(folder / "expected.npz"), *paths, str(folder / "scaled")]


@pytest.mark.timeout(280)
@pytest.mark.parametrize("kind", ["bare", "tf_keras", *(["tfopt"] if ALL else [])])
def test_goes_on_in_another_process(exported, kind):
    """Bit for bit; and objects that hold the optimizer load without an error."""
    done = run_python("-c", LOADER, kind, *exported, timeout=240)
    assert done.stdout.count("went on") == len(CHOSEN)
    assert done.stdout.count("saved again: True") == (2 if kind == "tf_keras" else 0)
    imported = {"bare": set(), "tf_keras": {"tf_keras"}, "tfopt": {"tfopt", "tf_keras"}}
    assert set(done.stdout.splitlines()[-1].split()) == imported[kind]


def test_tf_keras_loads_its_model_with_our_optimizer(exported):
    model = tf_keras.models.load_model(exported[-2])
    assert isinstance(model.optimizer, tfopt.Nadam)
    model.fit(np.ones((4, 3)), np.ones((4, 1)), verbose=0)


def test_the_loaded_state_can_be_read(exported):
    state = tf.saved_model.load(exported[1]).trainers["Adam"].opt.state
    assert state.iter.numpy() == 1
    assert getattr(state, "Variable/m").shape == (3,)


def test_slots_are_there_after_an_export(tmp_path):
    """An export shows slots as plain variables, and only as long as it lasts."""
    trainer = make_trainer(next(case for case in CASES if case.name == "Adam"))
    tf.saved_model.save(trainer, str(tmp_path / "model"))
    assert trainer.opt.get_slot_names() == ["m", "v"]
    path = tf.train.Checkpoint(opt=trainer.opt, v=trainer.v).save(str(tmp_path / "ckpt"))
    slots = [name for name, _ in tf.train.list_variables(path) if "OPTIMIZER_SLOT" in name]
    assert len(slots) == 4


def test_an_export_that_fails_leaves_slots_to_checkpoints(tmp_path):
    trainer = Trainer(tfopt.Adam())
    trainer.step(tf.constant(0.5))
    stray = tf.Variable(1.0)
    trainer.bad = tf.function(lambda: stray * 2, input_signature=[])
    with pytest.raises(KeyError, match="reachable"):
        tf.saved_model.save(trainer, str(tmp_path / "model"))
    path = tf.train.Checkpoint(opt=trainer.opt, v=trainer.v).save(str(tmp_path / "ckpt"))
    assert sum("OPTIMIZER_SLOT" in name for name, _ in tf.train.list_variables(path)) == 4


def test_an_optimizer_not_yet_used_is_exported(tmp_path):
    holder = tf.Module()
    holder.opt = tfopt.Adam()
    tf.saved_model.save(holder, str(tmp_path / "model"))
    assert tf.saved_model.load(str(tmp_path / "model")).opt.state.iter.numpy() == 0
