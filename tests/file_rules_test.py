"""What a file of Keras brings into an optimizer: by path, by position, or in part; and its rate."""

import contextlib
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from training import assert_same, train_on_cosines

import tfopt

SHAPES = {"base/kernel": (3, 2), "base/bias": (2,), "head/kernel": (2, 2), "head/bias": (2,)}


def variables(names=SHAPES):
    """Variables of these names; of other names than those above if they are pairs with a shape."""
    pairs = [(n, SHAPES[n]) if isinstance(n, str) else n for n in names]
    return [tf.Variable(tf.ones(shape), name=name) for name, shape in pairs]


def trained(optimizer=None, own=None, steps=3):
    optimizer, own = optimizer or tfopt.Adam(0.1), own or variables()
    train_on_cosines(optimizer, own, steps)
    return optimizer, own


def store_of(optimizer):
    store = {}
    optimizer.save_own_variables(store)
    return store


@contextlib.contextmanager
def warned(*patterns):
    """Exactly these warnings of tfopt, in this order."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    texts = [str(w.message) for w in caught if issubclass(w.category, tfopt.TfoptWarning)]
    assert len(texts) == len(patterns), texts
    for text, pattern in zip(texts, patterns, strict=True):
        assert all(word in text for word in pattern.split(" ... ")), (text, pattern)


def loaded(store, own, make=lambda: tfopt.Adam(0.1), built=False, at_load=(), at_build=()):
    """An optimizer for variables that were given a store; and the warnings that there were."""
    optimizer = make()
    if built:
        optimizer.build(own)
    with warned(*at_load, *(at_build if built else ())):
        optimizer.load_own_variables(store)
    with warned(*(() if built else at_build)):
        optimizer.build(own)
    return optimizer


both_ways = pytest.mark.parametrize("built", [False, True], ids=["not built", "built"])


# --- which slot is whose --------------------------------------------------------------------------


@both_ways
def test_by_path_in_any_order(built):
    optimizer, own = trained()
    order = [2, 0, 3, 1]
    others = [variables()[i] for i in order]
    twin = loaded(store_of(optimizer), others, built=built)
    for i, other in zip(order, others, strict=True):
        assert_same(twin.get_slot(other, "m"), optimizer.get_slot(own[i], "m"))
    assert twin.iterations.numpy() == 3


@both_ways
@pytest.mark.parametrize("shift", [1, 5], ids=["names overlap", "no name is left"])
def test_by_position_where_names_have_shifted(built, shift):
    def stack(first):
        return variables([(f"dense_{first + n}/kernel", (2, 2)) for n in range(3)])

    optimizer, own = trained(own=stack(0))
    others = stack(shift)
    twin = loaded(store_of(optimizer), others, built=built)
    for variable, other in zip(own, others, strict=True):
        assert_same(twin.get_slot(other, "v"), optimizer.get_slot(variable, "v"))


def test_the_name_of_the_model_does_not_count():
    """Not even where a block that was seen later comes first in the model."""
    shape = (2, 2)
    own = variables([(f"sequential/{n}/kernel", shape) for n in ("head", "base")])
    optimizer = tfopt.Adam(0.1)
    for variable in own:
        train_on_cosines(optimizer, [variable], 2)
    others = variables([(f"sequential_1/{n}/kernel", shape) for n in ("base", "head")])
    twin = loaded(store_of(optimizer), others)
    assert_same(twin.get_slot(others[1], "m"), optimizer.get_slot(own[0], "m"))
    assert_same(twin.get_slot(others[0], "m"), optimizer.get_slot(own[1], "m"))


@both_ways
def test_in_part_where_a_head_is_another(built):
    optimizer, own = trained()
    others = variables(["base/kernel", "base/bias", ("top/kernel", (2, 5)), ("top/bias", (5,))])
    pattern = "4 of 8 slots ... m, v of `top/kernel`; m, v of `top/bias` ... begin afresh"
    twin = loaded(store_of(optimizer), others, built=built, at_build=[pattern])
    assert_same(twin.get_slot(others[0], "m"), optimizer.get_slot(own[0], "m"))
    assert_same(twin.get_slot(others[2], "m"), np.zeros((2, 5)))
    assert twin.iterations.numpy() == 3


def test_what_begins_afresh_in_a_trained_optimizer_begins_at_its_first_values():
    store = store_of(trained(own=variables(["base/kernel"]))[0])
    options = {"use_ema": True}
    optimizer, own = trained(tfopt.Adam(0.1, **options), variables())
    with warned("10 of 12 slots"):
        optimizer.load_own_variables(store)
    for variable in own:
        variable.assign_add(tf.ones_like(variable))  # a model's weights may be loaded later
    optimizer.build(own)
    assert_same(optimizer.get_slot(own[3], "m"), np.zeros(2))
    assert_same(optimizer.get_slot(own[3], "ema_average"), own[3])
    assert np.any(optimizer.get_slot(own[0], "m"))


@both_ways
def test_nothing_is_loaded_where_no_slot_fits(built):
    store = store_of(trained()[0])
    others = variables([("a/kernel", (7,)), ("b/kernel", (8,))])
    twin = loaded(store, others, built=built, at_build=["not loaded ... 4 of 4 slots ... base"])
    assert_same(twin.get_weights(), [0, *(np.zeros(n) for n in (7, 8, 7, 8))])


def test_what_was_loaded_twice_and_does_not_fit_leaves_nothing():
    twin = tfopt.Adam(0.1)
    for steps in (2, 3):
        twin.load_own_variables(store_of(trained(steps=steps)[0]))
    with warned("not loaded"):
        twin.build(variables([("a", (7,))]))
    assert twin.iterations.numpy() == 0


@both_ways
def test_nothing_is_loaded_from_another_class(built):
    store = store_of(trained(tfopt.SGD(0.1, momentum=0.9))[0])
    twin = loaded(store, variables(), built=built, at_load=["saved by SGD is not loaded into Adam"])
    assert twin.iterations.numpy() == 0


@both_ways
def test_a_file_without_slots_gives_what_it_has(built):
    loaded(store_of(tfopt.Adam(0.1)), variables(), built=built)  # never trained: no warning
    store = store_of(trained(tfopt.SGD(0.1))[0])
    make = lambda: tfopt.SGD(0.1, momentum=0.5)  # noqa: E731
    pattern = "4 of 4 slots ... afresh" if built else "`momentum` is 0.5 (in the file: 0)"
    twin = loaded(store, variables(), make, built, at_load=[pattern])
    assert twin.iterations.numpy() == 3


@both_ways
def test_slots_that_this_optimizer_does_not_have_are_named(built):
    optimizer, own = trained(tfopt.Adam(0.1, amsgrad=True))
    others = variables()
    pattern = "slots `vhat`, which `Adam` does not have"
    twin = loaded(store_of(optimizer), others, built=built, at_build=[pattern])
    assert_same(twin.get_slot(others[1], "v"), optimizer.get_slot(own[1], "v"))


def test_variables_that_come_later_find_their_slots():
    optimizer, own = trained()
    twin, others = tfopt.Adam(0.1), variables()
    twin.load_own_variables(store_of(optimizer))
    with warned():
        twin.build(others[2:])
        twin.build([*others, *variables([("new", (2,))])])
    for variable, other in zip(own, others, strict=True):
        assert_same(twin.get_slot(other, "v"), optimizer.get_slot(variable, "v"))


@pytest.mark.parametrize("optimizer", [tfopt.Nadam(0.1), tfopt.Adam(0.1, skip_nonfinite=True)])
@both_ways
def test_a_scalar_that_is_not_in_the_file_begins_afresh(optimizer, built):
    make = lambda: type(optimizer).from_config(optimizer.get_config())  # noqa: E731
    twin = loaded(store_of(optimizer), variables(), make, built)
    assert_same(twin.get_weights(), loaded(store_of(make()), variables(), make).get_weights())


# --- the rate that was just given, and the start of a schedule ------------------------------------

cosine = lambda steps=200: tfopt.schedules.CosineDecay(0.1, steps)  # noqa: E731


def test_a_number_that_was_just_given_stays():
    store = store_of(trained(tfopt.Adam(0.1, beta_1=0.5))[0])
    patterns = ["`learning_rate` is 1e-05 (in the file: 0.1), `beta_1` is 0.9 (in the file: 0.5)"]
    twin = loaded(store, variables(), lambda: tfopt.Adam(1e-5), at_load=patterns)
    assert twin.get_config()["learning_rate"] == 1e-5
    assert twin.get_config()["beta_1"] == 0.9
    assert twin.iterations.numpy() == 3


@pytest.mark.parametrize("make", [lambda: tfopt.Adam(1e-5), lambda: tfopt.SGD(1e-5)])
def test_an_optimizer_that_is_built_takes_everything(make):
    optimizer = make()
    optimizer.learning_rate = 0.25
    store = store_of(trained(optimizer)[0])
    twin = loaded(store, variables(), make, built=True)
    assert twin.learning_rate.numpy() == 0.25
    assert twin.iterations.numpy() == 3


def test_steps_go_on_under_the_same_schedule():
    optimizer, _ = trained(tfopt.Adam(cosine()))
    twin = loaded(store_of(optimizer), variables(), lambda: tfopt.Adam(cosine()))
    assert_same(twin.get_weights(), optimizer.get_weights())


@pytest.mark.parametrize(
    "schedules",
    [keras.optimizers.schedules.CosineDecay, tf_keras.optimizers.schedules.CosineDecay],
)
def test_the_same_schedule_of_another_library_is_the_same_schedule(schedules):
    optimizer, _ = trained(tfopt.Adam(schedules(0.1, 200)))
    twin = loaded(store_of(optimizer), variables(), lambda: tfopt.Adam(schedules(0.1, 200)))
    assert twin.iterations.numpy() == 3


@pytest.mark.parametrize("there", [0.1, cosine(100)], ids=["a number", "another schedule"])
def test_another_schedule_is_a_new_training(there):
    store = store_of(trained(tfopt.Adam(there))[0])
    make = lambda: tfopt.Adam(cosine())  # noqa: E731
    pattern = "No state ... another schedule ... begins at step 0 ... at step 3 ... optimizer.build"
    twin = loaded(store, variables(), make, at_load=[pattern])
    assert_same(twin.get_weights(), loaded(store_of(make()), variables(), make).get_weights())
    twin = loaded(store, variables(), make, built=True)  # as the warning says
    assert twin.iterations.numpy() == 3


@pytest.mark.parametrize("own", [cosine(2), lambda step: 0.5], ids=["schedule", "function"])
def test_a_file_that_records_no_schedule(own):
    """One of an earlier version, or of a function that has no config."""
    optimizer, _ = trained(tfopt.Adam(cosine() if own is not callable else own))
    store = store_of(optimizer)
    layout = bytes(store["layout"]).decode().split(', "schedules"')[0] + "}"
    store["layout"] = np.frombuffer(layout.encode(), np.uint8)
    del store["checksum"]
    value = float(own(3))
    pattern = f"which schedule ... step 3, where `learning_rate` is {value:.7g}"
    twin = loaded(store, variables(), lambda: tfopt.Adam(own), at_load=[pattern])
    assert twin.iterations.numpy() == 3


def test_a_number_in_place_of_the_schedule_of_the_file():
    store = store_of(trained(tfopt.Adam(cosine()))[0])
    pattern = "`learning_rate` is 0.1 (in the file: CosineDecay)"
    twin = loaded(store, variables(), at_load=[pattern])
    assert twin.iterations.numpy() == 3
    assert twin.get_config()["learning_rate"] == 0.1


# --- a file must not keep a model from loading ----------------------------------------------------


@both_ways
def test_a_later_format_is_not_loaded(built):
    store = store_of(trained()[0])
    text = bytes(store["layout"]).decode().replace("tfopt-1", "tfopt-9")
    store["layout"] = np.frombuffer(text.encode(), np.uint8)
    del store["checksum"]
    loaded(store, variables(), built=built, at_load=["later version ... not loaded"])


def test_a_file_without_an_optimizer():
    loaded({}, variables())
    loaded({}, variables(), built=True, at_load=["no state of tfopt's Adam"])


@both_ways
def test_a_loss_scale_and_none(built):
    plain, scaled = trained()[0], trained(tfopt.LossScaleOptimizer(tfopt.Adam(0.1), 8.0))[0]
    make = lambda: tfopt.LossScaleOptimizer(tfopt.Adam(0.1))  # noqa: E731
    loaded(store_of(plain), variables(), make, built, ["has no loss scale"])
    loaded(store_of(scaled), variables(), built=built, at_load=["no state of tfopt's Adam"])


@both_ways
def test_an_optimizer_written_for_optimizer_v2(built):
    store = store_of(trained(tfopt.legacy.Adam(0.1))[0])
    make = lambda: tfopt.legacy.Adam(0.1)  # noqa: E731
    twin = loaded(store, variables(), make, built)
    assert twin.iterations.numpy() == 3
    others = variables(["base/kernel"])
    twin = loaded(store, others, make, built, at_build=["weights"])
    assert twin.iterations.numpy() == 0


# --- TensorFlow's format --------------------------------------------------------------------------


def checkpoint_of(optimizer, own, folder):
    return tf.train.Checkpoint(optimizer=optimizer, own=own).save(str(folder / "all"))


@pytest.mark.parametrize("read_first", [False, True], ids=["new", "rate was read"])
def test_a_checkpoint_that_changes_the_rate_says_so(read_first, tmp_path):
    path = checkpoint_of(*trained(), tmp_path)
    for given, patterns in ((0.1, []), (0.25, ["`learning_rate` was 0.25 and is 0.1"])):
        optimizer, own = tfopt.Adam(given), variables()
        if read_first:
            _ = optimizer.learning_rate
        with warned(*patterns):
            tf.train.Checkpoint(optimizer=optimizer, own=own).restore(path)
            optimizer.build(own)
            optimizer.build(own)
        assert optimizer.learning_rate.numpy() == np.float32(0.1)
    optimizer = tfopt.Adam(0.25)
    tf.train.Checkpoint(optimizer=optimizer, own=own).restore(path)
    with warned():
        optimizer.learning_rate = 0.5  # what the warning asks for
        optimizer.build(own)
    assert optimizer.learning_rate.numpy() == 0.5


@pytest.mark.parametrize("built", [False, True])
def test_a_checkpoint_of_another_class_names_both_once(built, tmp_path):
    path = checkpoint_of(*trained(), tmp_path)
    optimizer, own = tfopt.SGD(0.1, momentum=0.5), variables()
    if built:
        optimizer.build(own)
    with warned("was saved by Adam and is restored into SGD"):
        tf.train.Checkpoint(optimizer=optimizer, own=own).restore(path).expect_partial()
        train_on_cosines(optimizer, own, 3)


# --- lists ----------------------------------------------------------------------------------------


def test_a_list_that_does_not_fit_is_refused_when_slots_are_created():
    values = trained()[0].get_weights()
    optimizer, own = tfopt.Adam(0.1), variables(["base/kernel"])
    optimizer.set_weights(values)
    with pytest.raises(ValueError, match="`set_weights` was given.*must have 3 arrays.*got 9"):
        train_on_cosines(optimizer, own, 1)
    assert_same(own, variables(["base/kernel"]))
    assert_same(optimizer.get_weights(), [0])
    train_on_cosines(optimizer, own, 1)  # as if it had just been made
    assert optimizer.iterations.numpy() == 1
