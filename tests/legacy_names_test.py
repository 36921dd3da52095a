"""The names of tfopt.legacy that subclasses rely on, and its constructors."""

import inspect

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from either_base import EIGHT, OURS, V2, each_base, each_variant

import tfopt


@each_base
def test_hyperparameters(legacy):
    class Own(legacy.Optimizer):
        def __init__(self, learning_rate=0.1, name="Own", **kwargs):
            super().__init__(name, **kwargs)
            self._set_hyper("learning_rate", kwargs.get("lr", learning_rate))
            self._set_hyper("decay", self._initial_decay)
            self._set_hyper("period", 4)
            self._set_hyper("weight_decay", lambda: 0.5)

    optimizer = Own(decay=1.0)
    assert {"learning_rate", "decay", "period", "weight_decay"} == set(optimizer._hyper)
    assert optimizer._hyper["learning_rate"] == 0.1 and "beta" not in optimizer._hyper
    assert not optimizer._hypers_created
    optimizer._create_hypers()
    assert optimizer._hypers_created
    assert isinstance(optimizer._hyper["learning_rate"], tf.Variable)
    assert optimizer._get_hyper("period", tf.int64).numpy() == 4
    assert optimizer._get_hyper("weight_decay", tf.float64).dtype == tf.float64
    assert optimizer._serialize_hyperparameter("weight_decay") == 0.5
    optimizer.iterations.assign(1)
    np.testing.assert_allclose(optimizer._decayed_lr(tf.float32), 0.05)
    optimizer.lr = 0.25
    assert optimizer.learning_rate.numpy() == optimizer.lr.numpy() == 0.25
    assert optimizer._serialize_hyperparameter("learning_rate") == 0.25
    optimizer._hyper["learning_rate"] = 0.5 if legacy is OURS else optimizer._hyper["learning_rate"]
    optimizer.period = 6
    assert optimizer._get_hyper("period").numpy() == 6
    assert Own(lr=0.75)._get_hyper("learning_rate").numpy() == 0.75
    assert optimizer._call_if_callable(lambda: 3) == optimizer._call_if_callable(3) == 3
    with pytest.raises(AttributeError):
        _ = optimizer.missing


@each_base
def test_a_schedule_is_evaluated_at_each_step(legacy):
    library = tf_keras.optimizers.schedules
    x = tf.Variable(0.0)
    optimizer = legacy.SGD(library.PiecewiseConstantDecay([0, 1], [1.0, 10.0, 100.0]))

    @tf.function
    def apply():
        optimizer.apply_gradients([(tf.constant(-1.0), x)])

    for expected in (1, 11, 111):
        apply()
        assert x.numpy() == expected
    config = optimizer.get_config()
    assert config["learning_rate"]["class_name"] == "PiecewiseConstantDecay"
    again = legacy.SGD.from_config(config)
    again.apply_gradients([(tf.constant(-1.0), x)])
    assert x.numpy() == 112


@each_base
def test_attributes(legacy):
    optimizer = legacy.Adam(0.1, decay=0.5)
    assert optimizer._HAS_AGGREGATE_GRAD is True
    assert optimizer._use_locking is True
    assert optimizer._initial_decay == 0.5
    assert optimizer._name == "Adam"
    assert optimizer.epsilon == 1e-7 and optimizer.amsgrad is False
    assert optimizer._iterations is None and optimizer._weights == []
    x = tf.Variable([1.0, 2.0])
    optimizer._create_all_weights([x])
    assert optimizer._iterations is optimizer.iterations
    assert optimizer._slot_names == optimizer.get_slot_names() == ["m", "v"]
    assert optimizer._weights[0] is optimizer.iterations
    assert optimizer._weights[1] is optimizer.get_slot(x, "m")
    assert [w.shape for w in optimizer.variables()] == [w.shape for w in optimizer._weights]
    assert "apply_state" in optimizer._dense_apply_args
    assert "apply_state" in optimizer._sparse_apply_args
    assert tf.float64 in optimizer._valid_dtypes() and tf.int32 not in optimizer._valid_dtypes()
    with pytest.raises(ValueError, match="int32"):
        optimizer._assert_valid_dtypes([tf.Variable(1)])
    optimizer.epsilon = 0.5
    assert optimizer.epsilon == 0.5
    assert legacy.SGD(momentum=0.5)._momentum and not legacy.RMSprop()._momentum
    assert legacy.Adagrad()._initial_accumulator_value == 0.1
    assert legacy.Ftrl(beta=0.5)._l2_shrinkage_regularization_strength == 0
    nadam = legacy.Nadam()
    assert nadam._m_cache is None and nadam._initial_decay == 0.004
    nadam._create_all_weights([x])
    assert nadam._m_cache is nadam._weights[1]
    assert legacy.Optimizer("any")._name == "any"


@pytest.mark.parametrize("library", [V2, OURS, tfopt], ids=["V2", "legacy", "tfopt"])
def test_names_of_weights_begin_with_the_optimizer_s(library):
    optimizer, variables = library.Adam(name="Mine"), [tf.Variable([1.0], name="dense/kernel")]
    optimizer.apply_gradients([(tf.ones([1]), variables[0])])
    names = [weight.name for weight in optimizer.weights]
    assert names == ["Mine/iter:0", "Mine/dense/kernel/m:0", "Mine/dense/kernel/v:0"]
    assert optimizer.get_slot(variables[0], "m").name == "Mine/dense/kernel/m:0"


@each_base
def test_rows_of_a_variable(legacy):
    optimizer, x = legacy.SGD(), tf.Variable([[1.0], [2.0], [3.0]])
    added = optimizer._resource_scatter_add(x, tf.constant([0, 2]), tf.constant([[1.0], [1.0]]))
    assert added.numpy().ravel().tolist() == [2, 2, 4]
    new = optimizer._resource_scatter_update(x, tf.constant([1]), tf.constant([[9.0]]))
    assert new.numpy().ravel().tolist() == x.numpy().ravel().tolist() == [2, 9, 4]


@each_base
def test_strategy_that_the_optimizer_was_made_under(legacy, mirrored):
    with mirrored.scope():
        optimizer = legacy.SGD()
    assert optimizer._distribution_strategy is mirrored
    with optimizer._distribution_strategy_scope():
        assert tf.distribute.get_strategy() is mirrored
    assert legacy.SGD()._distribution_strategy is None
    with legacy.SGD()._distribution_strategy_scope():
        assert not tf.distribute.has_strategy()


@each_base
def test_iterations_may_be_replaced_before_use(legacy):
    step, x = tf.Variable(5, dtype=tf.int64), tf.Variable(1.0)
    optimizer = legacy.Adam()
    optimizer.iterations = step
    optimizer.apply_gradients([(tf.constant(1.0), x)])
    assert step.numpy() == 6 and optimizer.weights[0] is step
    with pytest.raises(RuntimeError, match="iterations"):
        optimizer.iterations = tf.Variable(0, dtype=tf.int64)


@each_base
def test_constraints(legacy):
    x = tf.Variable([[1.0], [2.0]], constraint=lambda value: tf.minimum(value, 1.5))
    optimizer = legacy.Adam(0.1)
    optimizer.apply_gradients([(tf.constant([[-1.0], [-1.0]]), x)])
    np.testing.assert_allclose(x.numpy().ravel(), [1.1, 1.5], rtol=1e-6)
    with pytest.raises(RuntimeError, match="constraint"):
        optimizer.apply_gradients([(tf.IndexedSlices(tf.ones([1, 1]), tf.constant([0])), x)])


@each_base
def test_variables_may_turn_up_late(legacy):
    created = []

    class Noting(legacy.Adam):
        def _create_slots(self, var_list):
            created.append(len(var_list))
            super()._create_slots(var_list)

    x, y = tf.Variable(1.0), tf.Variable([1.0, 2.0])
    optimizer = Noting(0.1)
    optimizer.apply_gradients([(tf.constant(1.0), x)])
    optimizer.apply_gradients([(tf.constant(1.0), x), (tf.constant([1.0, 1.0]), y)])
    assert created == [1, 2]
    assert [tuple(w.shape) for w in optimizer.weights] == [(), (), (), (2,), (2,)]
    np.testing.assert_allclose([x.numpy(), *y.numpy()], [0.8, 0.925587, 1.925587], rtol=1e-5)


# --- construction ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*EIGHT, "Optimizer"])
def test_signatures_are_those_of_optimizer_v2(name):
    theirs = inspect.signature(getattr(V2, name)).parameters
    ours = inspect.signature(getattr(OURS, name)).parameters
    assert list(ours) == list(theirs)
    for parameter in theirs:
        assert ours[parameter].default == theirs[parameter].default
        assert ours[parameter].kind == theirs[parameter].kind


@each_variant
def test_configs_are_those_of_optimizer_v2(name, arguments):
    theirs, ours = (getattr(legacy, name)(0.25, **arguments, clipnorm=1.0) for legacy in (V2, OURS))
    expected = theirs.get_config()
    config = ours.get_config()
    assert {key: config[key] for key in expected} == expected
    assert config.keys() - expected.keys() <= {"beta", "l2_shrinkage_regularization_strength"}
    assert getattr(OURS, name).from_config(expected).get_config() == config
    assert getattr(V2, name).from_config(dict(expected)).get_config() == expected
    assert tfopt.get(tfopt.serialize(ours)).get_config() == config
    assert type(tfopt.get(tfopt.serialize(ours))) is getattr(OURS, name)
    assert type(tfopt.get({"class_name": name, "config": expected})) is getattr(tfopt, name)


@each_base
def test_bad_arguments_raise(legacy):
    with pytest.raises(TypeError, match="weight_decay"):
        legacy.Adam(weight_decay=0.1)
    for name in ("clipnorm", "clipvalue", "global_clipnorm", "decay"):
        with pytest.raises(ValueError, match=name):
            legacy.SGD(**{name: -1.0})
    with pytest.raises(ValueError, match="global_clipnorm"):
        legacy.SGD(clipnorm=1.0, global_clipnorm=1.0)
    with pytest.raises(ValueError, match="momentum"):
        legacy.SGD(momentum=1.5)
    with pytest.raises(TypeError):
        legacy.Optimizer()


def test_what_nothing_would_use_raises():
    class Deaf(OURS.Optimizer):
        pass

    with pytest.raises(TypeError, match="lr"):
        Deaf("deaf", lr=0.5).build([tf.Variable(1.0)])
    with pytest.raises(RuntimeError, match="_distributed_apply"):

        class Wrong(OURS.Optimizer):
            def _distributed_apply(self, distribution, grads_and_vars, apply_state, name):
                pass

    with pytest.raises(NotImplementedError, match="_resource_apply_dense"):
        Deaf("deaf").apply_gradients([(tf.constant(1.0), tf.Variable(1.0))])
    with pytest.raises(TypeError, match="schedule_decay"):
        OURS.Nadam(decay=0.1, schedule_decay=0.1)


def test_names_that_tfopt_uses_for_itself_raise():
    with pytest.raises(AttributeError, match="`update`"):

        class Method(OURS.SGD):
            def update(self):
                pass

    class Attribute(OURS.SGD):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self._engine = {}

    with pytest.raises(AttributeError, match="`_engine`"):
        Attribute()


def test_names_of_tfopt_s_keywords_are_free():
    class Own(OURS.SGD):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.use_ema = self.lazy = self.skip_nonfinite = self.master_weights = True
            self.gradient_accumulation_steps = 7
            self.exclude_from_weight_decay = ["bias"]
            self._set_hyper("weight_decay", 0.5)

    x = tf.Variable(1.0)
    optimizer = Own()
    optimizer.apply_gradients([(tf.constant(1.0), x)])
    np.testing.assert_allclose(x.numpy(), 0.99)
    assert optimizer.weight_decay.numpy() == 0.5
    assert optimizer.gradient_accumulation_steps == 7 and optimizer.lazy is True
    assert len(optimizer.weights) == 1
    with pytest.raises(TypeError, match="use_ema"):
        Own(use_ema=True)
