"""Hyperparameters: what they take, when a change takes effect, what they refuse."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from training import counted

import tfopt
from tfopt import schedules


def moved(opt, variable, by=1.0):
    """How far one step with a gradient of 1 moves the variable."""
    before = variable.numpy()
    opt.apply_gradients([(tf.constant(by), variable)])
    return float(before - variable.numpy())


SOURCES = {
    "float": lambda: 0.25,
    "int": lambda: 1,
    "numpy": lambda: np.float32(0.25),
    "array": lambda: np.array(0.25),
    "tensor": lambda: tf.constant(0.25),
    "variable": lambda: tf.Variable(0.25),
    "double variable": lambda: tf.Variable(0.25, dtype=tf.float64),
    "keras variable": lambda: keras.Variable(0.25),
    "callable": lambda: lambda: 0.25,
    "callable of a tensor": lambda: lambda: tf.constant(0.25),
    "callable of the step": lambda: lambda step: 0.25 + 0.0 * tf.cast(step, tf.float32),
    "callable with a default": lambda: lambda scale=0.25: scale,
    "tfopt schedule": lambda: schedules.PiecewiseConstantDecay([10], [0.25, 0.0]),
    "keras schedule": lambda: keras.optimizers.schedules.PiecewiseConstantDecay([10], [0.25, 0.0]),
    "tf_keras schedule": lambda: tf_keras.optimizers.schedules.PiecewiseConstantDecay(
        [10], [0.25, 0.0]
    ),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_a_learning_rate_comes_from_anything(source, mode):
    opt, variable = tfopt.SGD(SOURCES[source]()), tf.Variable(1.0)

    def step():
        opt.apply_gradients([(tf.constant(1.0), variable)])

    if mode != "eager":
        step = tf.function(step, jit_compile=mode == "xla")
    expected = 1.0 if source == "int" else 0.25
    for count in (1, 2):
        step()
        assert variable.numpy() == 1 - count * expected
    assert float(opt.learning_rate) == expected
    assert float(opt.lr) == expected


@pytest.mark.filterwarnings("ignore:.*replaces the schedule:tfopt.TfoptWarning")
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_a_number_takes_effect_over_anything_without_a_retrace(source, mode):
    opt, variable, traces = tfopt.SGD(SOURCES[source]()), tf.Variable(1.0), []
    opt.build([variable])

    def step():
        traces.append(1)
        opt.apply_gradients([(tf.constant(1.0), variable)])

    function = step if mode == "eager" else tf.function(step)
    function()
    opt.learning_rate = 0.5
    variable.assign(1.0)
    function()
    assert variable.numpy() == 0.5
    assert float(opt.learning_rate) == 0.5
    opt.lr = 0.75
    variable.assign(1.0)
    function()
    assert variable.numpy() == 0.25
    assert mode == "eager" or len(traces) == 1


def test_reading_gives_the_variable():
    opt = tfopt.Adam(0.25)
    assert isinstance(opt.learning_rate, tf.Variable)
    assert opt.learning_rate is opt.lr
    opt.learning_rate.assign(0.5)
    assert opt.get_config()["learning_rate"] == 0.5
    assert isinstance(opt.beta_1, tf.Variable)
    assert opt.epsilon.dtype == tf.float32


def test_a_variable_is_kept_by_reference():
    rate = tf.Variable(0.25)
    opt, variable = tfopt.SGD(rate), tf.Variable(1.0)
    assert opt.learning_rate is rate
    assert moved(opt, variable) == 0.25
    rate.assign(0.5)
    assert moved(opt, variable) == 0.5
    opt.learning_rate = 0.125
    assert rate.numpy() == 0.125
    assert opt.get_config()["learning_rate"] == 0.125


def test_a_callable_is_called_at_every_eager_step():
    calls, variable = [], tf.Variable(0.0)
    opt = tfopt.SGD(lambda: calls.append(1) or 1.0 * len(calls))
    assert [moved(opt, variable) for _ in range(3)] == [1.0, 2.0, 3.0]


def test_a_callable_gets_the_step():
    steps = []

    def rate(step):
        steps.append(int(step))
        return 0.5 ** tf.cast(step, tf.float32)

    opt, variable = tfopt.SGD(rate), tf.Variable(0.0)
    assert [moved(opt, variable) for _ in range(3)] == [1.0, 0.5, 0.25]
    assert steps == [0, 1, 2]


def test_a_schedule_follows_iterations_in_a_function():
    opt = tfopt.SGD(schedules.PiecewiseConstantDecay([0, 1], [1.0, 0.5, 0.25]))
    variable = tf.Variable(0.0)
    step = tf.function(lambda: opt.apply_gradients([(tf.constant(1.0), variable)]))
    values = []
    for _ in range(4):
        step()
        values.append(float(variable.numpy()))
    np.testing.assert_array_equal(values, [-1.0, -1.5, -1.75, -2.0])


@pytest.mark.filterwarnings("ignore:.*replaces the schedule:tfopt.TfoptWarning")
def test_a_schedule_over_a_number():
    opt, variable = tfopt.SGD(1.0), tf.Variable(0.0)
    assert moved(opt, variable) == 1.0
    opt.learning_rate = schedules.PiecewiseConstantDecay([10], [0.5, 0.25])
    assert moved(opt, variable) == 0.5
    function = tf.function(lambda: opt.apply_gradients([(tf.constant(1.0), variable)]))
    function()
    opt.learning_rate = 2.0
    assert moved(opt, variable) == 2.0
    with pytest.warns(tfopt.TfoptWarning, match="traced earlier"):
        opt.learning_rate = schedules.PiecewiseConstantDecay([10], [0.25, 0.25])
    assert moved(opt, variable) == 0.25


def test_a_new_source_warns_that_functions_keep_the_old_one():
    opt, variable = tfopt.SGD(1.0), tf.Variable(0.0)
    tf.function(lambda: opt.apply_gradients([(tf.constant(1.0), variable)]))()
    with pytest.warns(tfopt.TfoptWarning, match="traced earlier"):
        opt.learning_rate = lambda: 0.5


def test_a_tensor_assigned_in_a_function_is_an_op():
    opt, variable = tfopt.SGD(1.0), tf.Variable(0.0)
    opt.build([variable])

    @tf.function
    def step(rate):
        opt.learning_rate = rate
        opt.apply_gradients([(tf.constant(1.0), variable)])

    step(tf.constant(0.5))
    step(tf.constant(0.25))
    assert variable.numpy() == -0.75


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_any_hyperparameter_may_be_scheduled(mode):
    """Momentum that is 0.5 at first, then 0."""
    schedule = schedules.PiecewiseConstantDecay([1], [0.5, 0.0])
    opt, variable = tfopt.SGD(1.0, momentum=schedule), tf.Variable(0.0)

    def step():
        opt.apply_gradients([(tf.constant(1.0), variable)])

    step = step if mode == "eager" else tf.function(step)
    values = []
    for _ in range(3):
        step()
        values.append(float(variable.numpy()))
    np.testing.assert_array_equal(values, [-1.0, -2.5, -3.5])


def test_decay_is_inverse_time_as_in_optimizer_v2():
    for decay in (0.5, 1e-2):
        ours, x = tfopt.SGD(0.1, decay=decay), tf.Variable(0.0, dtype=tf.float64)
        theirs, y = tf_keras.optimizers.legacy.SGD(0.1, decay=decay), tf.Variable(x)
        for _ in range(10):
            for opt, variable in ((ours, x), (theirs, y)):
                opt.apply_gradients([(tf.constant(1.0, tf.float64), variable)])
        np.testing.assert_allclose(x, y.numpy(), rtol=1e-7)
    ours.decay = 0.0
    assert moved(tfopt.SGD(0.5, decay=3.0), tf.Variable(0.0)) == 0.5


def test_schedule_and_decay_together():
    opt = tfopt.SGD(schedules.PiecewiseConstantDecay([10], [0.5, 0.0]), decay=1.0)
    variable = tf.Variable(0.0)
    assert [moved(opt, variable) for _ in range(2)] == [0.5, 0.25]


def test_nadam_takes_schedules_and_its_own_decay():
    assert tfopt.Nadam(decay=0.25).schedule_decay.numpy() == 0.25
    assert tfopt.Nadam(schedule_decay=0.25).decay.numpy() == 0.25
    with pytest.raises(TypeError, match="schedule_decay"):
        tfopt.Nadam(schedule_decay=0.25, decay=0.5)
    with pytest.raises(ValueError, match="`schedule_decay`"):
        tfopt.Nadam(decay=-1.0)
    scheduled = tfopt.Nadam(schedules.PiecewiseConstantDecay([10], [0.25, 0.0]))
    plain, x, y = tfopt.Nadam(0.25), tf.Variable(1.0), tf.Variable(1.0)
    for _ in range(3):
        scheduled.minimize(lambda: x * x, [x])
        plain.minimize(lambda: y * y, [y])
    np.testing.assert_array_equal(x, y.numpy())


def test_epsilon_zero_means_zero():
    opt, variable = tfopt.Adam(0.5, epsilon=0), tf.Variable(1.0)
    opt.apply_gradients([(tf.constant(1e-12), variable)])
    np.testing.assert_allclose(variable, 0.5, rtol=1e-6)


def test_config_keeps_the_very_number():
    opt = tfopt.Adam(0.1, beta_1=0.7)
    opt.apply_gradients([(tf.constant(1.0), tf.Variable(1.0))])
    config = opt.get_config()
    assert (config["learning_rate"], config["beta_1"]) == (0.1, 0.7)
    opt.learning_rate = 0.3
    assert opt.get_config()["learning_rate"] == 0.3


@pytest.mark.filterwarnings("ignore:.*replaces the schedule:tfopt.TfoptWarning")
@pytest.mark.parametrize(
    "library", [schedules, keras.optimizers.schedules, tf_keras.optimizers.schedules]
)
def test_config_of_a_schedule(library):
    schedule = library.CosineDecay(0.1, 10, warmup_target=0.5, warmup_steps=3)
    opt = tfopt.SGD(schedule)
    again = tfopt.SGD.from_config(opt.get_config())
    for step in (0, 2, 5, 20):
        again.iterations.assign(step)
        np.testing.assert_allclose(again.learning_rate, schedule(step), rtol=1e-6)
    opt.learning_rate = 0.25
    assert opt.get_config()["learning_rate"] == 0.25


def test_config_of_a_schedule_registered_with_keras():
    @keras.saving.register_keras_serializable("mine")
    class Constant(keras.optimizers.schedules.LearningRateSchedule):
        def __init__(self, rate):
            self.rate = rate

        def __call__(self, step):
            return self.rate

        def get_config(self):
            return {"rate": self.rate}

    again = tfopt.SGD.from_config(tfopt.SGD(Constant(0.5)).get_config())
    assert moved(again, tf.Variable(1.0)) == 0.5


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "arguments"),
    [
        ("SGD", {"learning_rate": -0.1}),
        ("SGD", {"momentum": 1.5}),
        ("SGD", {"momentum": -1}),
        ("SGD", {"learning_rate": float("nan")}),
        ("SGD", {"clipnorm": -1.0}),
        ("SGD", {"clipvalue": -1.0}),
        ("SGD", {"global_clipnorm": -1.0}),
        ("SGD", {"decay": -1}),
        ("SGD", {"weight_decay": -1.0}),
        ("Adam", {"beta_1": 1.0}),
        ("Adam", {"beta_2": -0.1}),
        ("Adam", {"epsilon": -1e-7}),
        ("RMSprop", {"rho": 2.0}),
        ("Adadelta", {"rho": -0.5}),
        ("Adagrad", {"initial_accumulator_value": -1.0}),
        ("Ftrl", {"learning_rate_power": 0.5}),
        ("Ftrl", {"l1_regularization_strength": -1.0}),
        ("Ftrl", {"beta": -1.0}),
        ("Ftrl", {"l2_regularization_strength": -1.0}),
        ("Ftrl", {"weight_decay": 0.1}),
        ("Ftrl", {"l2_shrinkage_regularization_strength": -1.0}),
        ("Nadam", {"schedule_decay": -1.0}),
        ("Ftrl", {"initial_accumulator_value": -0.1}),
        ("Lion", {"beta_1": 1.5}),
        ("LAMB", {"epsilon": -1e-7}),
        ("LAMB", {"lazy": True}),
        ("Adafactor", {"beta_2_decay": 0.8}),
        ("Adafactor", {"epsilon_2": -1e-3}),
        ("Adafactor", {"clip_threshold": 0.0}),
        ("SGD", {"lazy": "yes"}),
        ("SGD", {"jit_compile": "no"}),
        ("SGD", {"jit_compile": 1}),
        ("SGD", {"learning_rate": tf.constant([0.1, 0.2])}),
        ("SGD", {"clipnorm": 1.0, "global_clipnorm": 1.0}),
    ],
)
def test_a_value_out_of_range_raises(cls, arguments):
    with pytest.raises(ValueError, match=f"`{next(iter(arguments))}`"):
        getattr(tfopt, cls)(**arguments)


@pytest.mark.parametrize(
    ("cls", "arguments"),
    [
        ("Adam", {"learning_rat": 0.1}),
        ("SGD", {"beta_1": 0.1}),
        ("SGD", {"momentum": "0.9"}),
        ("SGD", {"momentum": None}),
        ("SGD", {"nesterov": 1}),
        ("SGD", {"learning_rate": True}),
        ("Adam", {"amsgrad": "yes"}),
        ("Adam", {"learning_rate": [0.1]}),
        ("Adagrad", {"initial_accumulator_value": "0.1"}),
        ("SGD", {"gradient_aggregator": 3}),
        ("SGD", {"gradient_transformers": [3]}),
        ("SGD", {"gradient_transformers": len}),
    ],
)
def test_a_wrong_kind_of_argument_raises(cls, arguments):
    with pytest.raises(TypeError, match=next(iter(arguments))):
        getattr(tfopt, cls)(**arguments)


def test_too_many_or_twice_given_arguments_raise():
    with pytest.raises(TypeError, match="positional"):
        tfopt.SGD(0.1, 0.9, True, "name")
    with pytest.raises(TypeError, match="learning_rate"):
        tfopt.SGD(0.1, lr=0.2)
    with pytest.raises(TypeError, match="learning_rate"):
        tfopt.SGD(learning_rate=0.1, lr=0.2)
    assert tfopt.SGD(lr=0.25).learning_rate.numpy() == 0.25


def test_structure_is_frozen_once_slots_exist():
    opt, variable = tfopt.SGD(0.5), tf.Variable(1.0)
    opt.nesterov = True
    opt.momentum = 0.5
    opt.momentum = 0.0
    opt.apply_gradients([(tf.constant(1.0), variable)])
    for name, value in (
        ("momentum", 0.5),
        ("nesterov", False),
        ("clipnorm", 1.0),
        ("weight_decay", 0.1),
        ("lazy", True),
        ("jit_compile", False),
    ):
        with pytest.raises(ValueError, match=name):
            setattr(opt, name, value)
    assert (opt.momentum.numpy(), opt.nesterov, opt.clipnorm) == (0.0, True, None)


def test_momentum_may_go_to_zero_and_back_where_it_was_used():
    opt, variable = tfopt.SGD(1.0, momentum=0.5), tf.Variable(0.0)
    step = tf.function(lambda: opt.apply_gradients([(tf.constant(1.0), variable)]))
    step()
    opt.momentum = 0.0
    step()
    assert variable.numpy() == -2.0
    opt.momentum = 0.5
    step()
    assert variable.numpy() == -3.5


def test_a_refused_value_changes_nothing():
    opt = tfopt.Adam(0.25)
    _ = opt.learning_rate
    with pytest.raises(ValueError, match="learning_rate"):
        opt.learning_rate = -1.0
    assert float(opt.learning_rate) == 0.25
    with pytest.raises(TypeError, match="learning_rate"):
        opt.learning_rate = "fast"
    assert opt.get_config()["learning_rate"] == 0.25


def test_the_constructor_creates_no_variable():
    created = []

    def spy(next_creator, **kwargs):
        created.append(kwargs.get("name"))
        return next_creator(**kwargs)

    with tf.variable_creator_scope(spy):
        optimizers = [getattr(tfopt, name)() for name in tfopt.optimizers.__all__]
        assert created == []
        assert [opt.get_slot_names() for opt in optimizers] == [[]] * len(optimizers)
        _ = optimizers[0].iterations
        assert len(created) == 1


def test_a_variable_after_another_is_read_afresh():
    """Even where Python gives the new one the old one's address."""
    cls, steps = counted(tfopt.SGD)
    variable, opt = tf.Variable(0.0), cls(tf.Variable(1.0))
    for rate in range(1, 40):
        opt.learning_rate = tf.Variable(float(rate))
        assert moved(opt, variable) == rate
    assert len(steps) == 1


@pytest.mark.parametrize("other", [lambda: tf.Variable(2.0), lambda: lambda: 2.0])
def test_a_variable_that_functions_were_traced_with_is_not_replaced_silently(other):
    opt, variable = tfopt.SGD(tf.Variable(1.0)), tf.Variable(0.0)
    tf.function(lambda: opt.apply_gradients([(tf.constant(1.0), variable)]))()
    with pytest.warns(tfopt.TfoptWarning, match="traced earlier"):
        opt.learning_rate = other()


def test_a_number_changes_in_a_v1_session():
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variable, opt = tf.Variable(1.0), tfopt.SGD(0.25)
        update = opt.apply_gradients([(tf.constant(1.0), variable)])
        session.run(tf.compat.v1.global_variables_initializer())
        session.run(update)
        opt.learning_rate = 0.5
        session.run(update)
        assert session.run(variable) == 0.25
        assert opt.get_config()["learning_rate"] == 0.5


def test_a_tensor_assigned_in_a_function_before_first_use_does_not_leak():
    opt, variable = tfopt.SGD(1.0), tf.Variable(0.0)

    @tf.function
    def step(rate):
        opt.learning_rate = rate
        opt.apply_gradients([(tf.constant(1.0), variable)])

    step(tf.constant(0.5))
    assert moved(opt, variable) == 0.5


def test_a_number_set_after_a_restore_counts(tmp_path):
    opt, variable = tfopt.SGD(0.25), tf.Variable(0.0)
    moved(opt, variable)
    path = tf.train.Checkpoint(opt=opt).save(str(tmp_path / "ckpt"))
    again = tfopt.SGD(1.0)
    tf.train.Checkpoint(opt=again).restore(path)
    again.learning_rate = 0.5
    assert moved(again, variable) == 0.5
    assert again.iterations.numpy() == 2


def test_numpy_numbers_make_plain_configs():
    import json

    config = tfopt.Adagrad(np.float32(0.5), initial_accumulator_value=np.float32(0.5)).get_config()
    assert json.loads(json.dumps(config)) == config
