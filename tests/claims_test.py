"""What the README says of Keras 3, tf-keras and legacy is so, or a test here fails."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from training import value_of

import tfopt

LIBRARIES = {
    "Keras 3": keras.optimizers,
    "tf-keras": tf_keras.optimizers,
    "legacy": tf_keras.optimizers.legacy,
    "tfopt": tfopt,
}
each_library = pytest.mark.parametrize("name", LIBRARIES)


def variable(name, value, dtype="float32"):
    """A variable as the library wants it."""
    value = np.asarray(value, "float32")
    return (
        keras.Variable(value, dtype=dtype) if name == "Keras 3" else tf.Variable(value, dtype=dtype)
    )


def apply_on_replicas(strategy, optimizer, x, first, second):
    """One step, with another gradient on each of two replicas."""

    def replica():
        index = tf.distribute.get_replica_context().replica_id_in_sync_group
        gradient = tf.where(tf.equal(index, 0), tf.constant(first), tf.constant(second))
        optimizer.apply_gradients([(gradient, x)])

    tf.function(lambda: strategy.run(replica))()


def build(name, optimizer, variables):
    if name in ("Keras 3", "tf-keras"):
        optimizer.build(variables)


@each_library
def test_which_compile_takes_it(name):
    optimizer = LIBRARIES[name].Adam()
    taken = []
    for library in (keras, tf_keras):
        try:
            taken.append(library.optimizers.get(optimizer) is optimizer)
        except ValueError:
            taken.append(False)
    expected = {"Keras 3": [True, False], "tf-keras": [False, True], "legacy": [False, True]}
    assert taken == expected.get(name, [True, True])


@each_library
def test_repeated_rows_are_summed_before_they_are_squared(name):
    table = variable(name, np.zeros([2, 1]))
    optimizer = LIBRARIES[name].Adagrad(1.0, initial_accumulator_value=0.0)
    rows = tf.IndexedSlices(tf.ones([2, 1]), tf.constant([0, 0]), tf.constant([2, 1]))
    optimizer.apply_gradients([(rows, table)])
    variables = optimizer.variables
    accumulator = list(variables() if callable(variables) else variables)[-1]
    assert value_of(accumulator)[0, 0] == (2 if name == "Keras 3" else 4)  # 1 + 1, squared


@pytest.mark.parametrize("name", ["Keras 3", "tfopt"])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "function"])
def test_schedule_free_trains_between_its_iterates_and_their_average(name, compiled):
    """In Keras 3 the variable is the average itself, so that beta_1 has no effect."""

    def trained(beta_1):
        x, optimizer = variable(name, [1.0, -2.0]), LIBRARIES[name].ScheduleFreeAdamW(0.1, beta_1)
        build(name, optimizer, [x])

        def step():
            optimizer.apply_gradients([(tf.sin(tf.range(2.0) + x), x)])

        step = tf.function(step) if compiled else step
        for _ in range(10):
            step()
        return value_of(x)

    apart = np.abs(trained(0.9) - trained(0.5)).max()
    assert apart < 1e-6 if name == "Keras 3" else apart > 1e-2


@each_library
def test_replicas_are_summed_before_they_are_clipped(name, mirrored):
    with mirrored.scope():
        x = variable(name, [0.0, 0.0])
        optimizer = LIBRARIES[name].SGD(1.0, clipnorm=1.0)
        build(name, optimizer, [x])
    apply_on_replicas(mirrored, optimizer, x, [3.0, 0.0], [0.0, 4.0])
    expected = [-1, -1] if name == "Keras 3" else [-0.6, -0.8]
    np.testing.assert_allclose(value_of(x), expected, rtol=1e-6)


@each_library
def test_a_variable_that_joins_later(name):
    first, second = variable(name, [1.0]), variable(name, [1.0])
    optimizer = LIBRARIES[name].Adam(0.5)
    optimizer.apply_gradients([(tf.ones([1]), first)])
    both = [(tf.ones([1]), first), (tf.ones([1]), second)]
    if name in ("Keras 3", "tf-keras"):
        with pytest.raises((ValueError, KeyError), match="[Uu]nknown variable|cannot recognize"):
            optimizer.apply_gradients(both)
    else:
        optimizer.apply_gradients(both)
        assert value_of(second) != 1


@each_library
def test_adam_moves_bfloat16_weights(name):
    x = variable(name, [1.0], "bfloat16")
    optimizer = LIBRARIES[name].Adam(0.125)
    for _ in range(3):
        optimizer.apply_gradients([(tf.ones([1], tf.bfloat16), x)])
    assert (value_of(x) < 1) == (name == "tfopt")


@pytest.mark.filterwarnings("ignore:.*replaces the schedule:tfopt.TfoptWarning")
@each_library
def test_a_number_over_a_schedule_counts_in_a_traced_function(name):
    library = keras if name in ("Keras 3", "tfopt") else tf_keras
    schedule = library.optimizers.schedules.ExponentialDecay(0.125, 1000, 0.5)
    x = variable(name, [0.0])
    optimizer = LIBRARIES[name].SGD(schedule)
    build(name, optimizer, [x])

    @tf.function
    def step():
        optimizer.apply_gradients([(tf.ones([1]), x)])

    step()
    before = value_of(x)
    if name in ("Keras 3", "tf-keras"):
        with pytest.raises(TypeError, match="LearningRateSchedule"):
            optimizer.learning_rate = 8.0
        return
    optimizer.learning_rate = 8.0
    step()
    assert (value_of(x) == before - 8) == (name == "tfopt")  # legacy goes on as before


@each_library
def test_exclusions_from_weight_decay_survive_a_config(name):
    if name == "legacy":
        pytest.skip("has no weight decay")
    optimizer = LIBRARIES[name].AdamW(0.5, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    again = type(optimizer).from_config(optimizer.get_config())
    make = keras.Variable if name == "Keras 3" else tf.Variable
    x = make(np.ones([1], "float32"), name="bias")
    again.apply_gradients([(tf.zeros([1]), x)])
    assert (value_of(x) == 1) == (name == "tfopt")


@each_library
def test_gradients_accumulate_on_replicas(name, mirrored):
    arguments = {"gradient_accumulation_steps": 2}
    if name in ("tf-keras", "legacy"):
        with pytest.raises(TypeError, match="gradient_accumulation_steps"):
            LIBRARIES[name].SGD(1.0, **arguments)
        return
    with mirrored.scope():
        x = variable(name, [0.0])
        optimizer = LIBRARIES[name].SGD(1.0, **arguments)
        build(name, optimizer, [x])
    if name == "Keras 3":
        with pytest.raises(RuntimeError, match="merge_call"):
            apply_on_replicas(mirrored, optimizer, x, [1.0], [2.0])
        return
    apply_on_replicas(mirrored, optimizer, x, [1.0], [2.0])
    assert value_of(x) == 0
    apply_on_replicas(mirrored, optimizer, x, [3.0], [4.0])
    assert value_of(x) == -5  # the mean over calls of the sums over replicas


@each_library
def test_a_step_may_be_returned_from_a_function(name):
    x = variable(name, [1.0])
    optimizer = LIBRARIES[name].SGD(0.5)
    build(name, optimizer, [x])
    step = tf.function(lambda: optimizer.apply_gradients([(tf.ones([1]), x)]))
    if name == "legacy":
        with pytest.raises(TypeError, match="must return zero or more Tensors"):
            step()
    else:
        assert int(step()) == 1


@each_library
def test_reading_legacy_checkpoints(name, tmp_path):
    x = tf.Variable([1.0])
    old = LIBRARIES["legacy"].Adam(0.5)
    old.apply_gradients([(tf.ones([1]), x)])
    path = tf.train.Checkpoint(x=x, optimizer=old).save(str(tmp_path / "old"))
    y = variable(name, [1.0])
    optimizer = LIBRARIES[name].Adam(0.5)
    build(name, optimizer, [y])
    checkpoint = tf.train.Checkpoint(x=y, optimizer=optimizer)
    if name == "tf-keras":
        with pytest.raises(ValueError, match="legacy TF-Keras optimizer"):
            checkpoint.restore(path)
        return
    status = checkpoint.restore(path)
    if name == "Keras 3":
        with pytest.raises(AssertionError):
            status.assert_consumed()
        assert int(optimizer.iterations) == 0
    else:
        optimizer.apply_gradients([(tf.ones([1]), y)])
        status.assert_consumed()
        assert int(optimizer.iterations) == 2
