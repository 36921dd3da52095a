"""`tfopt.legacy`: third parties' OptimizerV2 subclasses give what they give on their own base."""

import contextlib
import copy
import inspect
import pickle
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import third_party

import tfopt

V2, OURS = tf_keras.optimizers.legacy, tfopt.legacy
EIGHT = {
    "SGD": [{}, {"momentum": 0.5, "nesterov": True}],
    "RMSprop": [{}, {"momentum": 0.5}, {"centered": True}, {"centered": True, "momentum": 0.5}],
    "Adam": [{}, {"amsgrad": True}],
    "Adadelta": [{}],
    "Adagrad": [{}],
    "Adamax": [{}],
    "Nadam": [{}],
    "Ftrl": [
        {},
        {
            "l1_regularization_strength": 0.01,
            "beta": 0.5,
            "l2_shrinkage_regularization_strength": 0.1,
        },
    ],
}
FIXTURES = {
    "decoupled_adam": lambda legacy: third_party.decoupled_adam(legacy)(0.05, decay=0.1),
    "layer_wise": lambda legacy: third_party.layer_wise(legacy)(0.05, exclude=["bias"]),
    "averaging": lambda legacy: third_party.averaging(legacy)(legacy.Adam(0.05)),
    "lazy_adam": lambda legacy: third_party.lazy_adam(legacy)(0.05, clipnorm=2.0),
    "with_scalar": lambda legacy: third_party.with_scalar(legacy)(0.05),
}
each_fixture = pytest.mark.parametrize("make", FIXTURES.values(), ids=FIXTURES)
each_of_eight = pytest.mark.parametrize("name", EIGHT)
each_variant = pytest.mark.parametrize(
    "name, arguments", [(name, a) for name, variants in EIGHT.items() for a in variants]
)
each_base = pytest.mark.parametrize("legacy", [V2, OURS], ids=["v2", "tfopt"])
LIBRARIES = pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])
SHAPE = (6, 2)


def new_variables():
    random = np.random.default_rng(1)
    return [
        tf.Variable(random.normal(size=SHAPE), name="table"),
        tf.Variable(random.normal(size=(3,)), name="bias"),
    ]


def random_steps(count=6, repeated=True):
    """Gradients of both variables: of the table's rows, some repeated, and dense, in turn."""
    random = np.random.default_rng(2)
    steps = []
    for step in range(count):
        indices = random.integers(0, SHAPE[0], 4) if repeated else random.permutation(6)[:4]
        rows = tf.constant(random.normal(size=(4, 2)))
        rows = tf.IndexedSlices(rows, tf.constant(indices), tf.constant(SHAPE))
        table = tf.constant(random.normal(size=SHAPE)) if step % 3 == 1 else rows
        steps.append([table, tf.constant(random.normal(size=3))])
    return steps


def scaled(gradient, factor):
    if isinstance(gradient, tf.IndexedSlices):
        values = gradient.values * factor
        return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
    return gradient * factor


def run_eagerly(optimizer, variables, steps):
    for step in steps:
        optimizer.apply_gradients(zip(step, variables, strict=True))


def run_in_a_function(optimizer, variables, steps):
    @tf.function
    def apply(gradients):
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    for step in steps:
        apply(step)


def run_compiled(optimizer, variables, steps):
    @tf.function(jit_compile=True)
    def apply(gradients):
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    for step in steps:
        apply(step)


def run_in_replicas(strategy, optimizer, variables, steps):
    """Each replica has its share of the gradient; sparse ones repeat indices across replicas."""

    @tf.function
    def apply(gradients):
        def replica(gradients):
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            share = tf.cast(number, tf.float64) + 0.5
            gradients = [scaled(gradient, share) for gradient in gradients]
            optimizer.apply_gradients(zip(gradients, variables, strict=True))

        strategy.run(replica, (gradients,))

    for step in steps:
        apply(step)


def assert_same(theirs, ours, their_variables, our_variables, tolerance=1e-10):
    assert [w.shape for w in ours.weights] == [w.shape for w in theirs.weights]
    for expected, actual in zip(theirs.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_allclose(actual, expected, atol=tolerance, rtol=tolerance)
    for expected, actual in zip(their_variables, our_variables, strict=True):
        np.testing.assert_allclose(actual.numpy(), expected.numpy(), tolerance, tolerance)


# --- the same results on either base --------------------------------------------------------------


@pytest.mark.parametrize("run", [run_eagerly, run_in_a_function])
@each_fixture
def test_a_third_party_s_optimizer_gives_the_same_on_either_base(make, run):
    results = []
    for legacy in (V2, OURS):
        optimizer, variables = make(legacy), new_variables()
        # Clipping sums repeated rows first in tfopt: see the test of that.
        run(optimizer, variables, random_steps(repeated=optimizer.clipnorm is None))
        results.append((optimizer, variables))
    (theirs, their_variables), (ours, our_variables) = results
    assert_same(theirs, ours, their_variables, our_variables)
    assert isinstance(ours, tfopt.Optimizer) and isinstance(ours, tf.Module)


@pytest.mark.parametrize("name", ["decoupled_adam", "lazy_adam", "averaging"])
def test_a_third_party_s_optimizer_gives_the_same_under_xla(name):
    results = []
    for run in (run_eagerly, run_compiled):
        optimizer, variables = FIXTURES[name](OURS), new_variables()
        run(optimizer, variables, random_steps(3))
        results.append((optimizer, variables))
    (plain, plain_variables), (compiled, compiled_variables) = results
    assert_same(plain, compiled, plain_variables, compiled_variables)


@pytest.mark.timeout(120)
@each_fixture
def test_a_third_party_s_optimizer_gives_the_same_in_replicas(make, mirrored):
    results = []
    for legacy in (V2, OURS):
        with mirrored.scope():
            optimizer, variables = make(legacy), new_variables()
            optimizer.clipnorm = None
            if legacy is V2:  # fails to create a slot that copies its variable in the function
                optimizer._create_all_weights(variables)
        run_in_replicas(mirrored, optimizer, variables, random_steps(3))
        results.append((optimizer, variables))
    (theirs, their_variables), (ours, our_variables) = results
    assert_same(theirs, ours, their_variables, our_variables)
    for weight in [*our_variables, *ours.weights]:
        first, second = (copy.numpy() for copy in mirrored.experimental_local_results(weight))
        assert np.array_equal(first, second)


@each_fixture
def test_a_third_party_s_optimizer_gives_the_same_in_a_session(make):
    gradients = [gradient.numpy() for gradient in random_steps(2)[1]]
    values = {variable.name[:-2]: variable.numpy() for variable in new_variables()}
    results = []
    for legacy in (V2, OURS):
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            variables = [tf.Variable(value, name=name) for name, value in values.items()]
            optimizer = make(legacy)
            rows = tf.IndexedSlices(
                tf.constant(np.arange(6.0).reshape(3, 2)),
                tf.constant([1, 4, 0]),
                tf.constant(SHAPE),
            )
            dense = optimizer.apply_gradients(
                zip(map(tf.constant, gradients), variables, strict=True)
            )
            sparse = optimizer.apply_gradients([(rows, variables[0])])
            assert isinstance(dense, tf.Operation)
            session.run(tf.compat.v1.variables_initializer(variables))  # slots may start as copies
            session.run(tf.compat.v1.global_variables_initializer())
            for op in (dense, sparse, dense, sparse):
                session.run(op)
            results.append(session.run([*optimizer.weights, *variables]))
    for expected, actual in zip(*results, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("run", [run_eagerly, run_in_a_function])
@each_variant
def test_the_eight_give_the_same(name, arguments, run):
    results = []
    for legacy in (V2, OURS):
        extra = {} if name == "Nadam" else {"decay": 0.1}
        optimizer, variables = getattr(legacy, name)(0.05, **arguments, **extra), new_variables()
        run(optimizer, variables, random_steps())
        results.append((optimizer, variables))
    (theirs, their_variables), (ours, our_variables) = results
    assert_same(theirs, ours, their_variables, our_variables)
    assert isinstance(ours, getattr(tfopt, name))


# --- Keras ----------------------------------------------------------------------------------------


def embedding_model(library):
    model = library.Sequential(
        [
            library.Input((5,), dtype="int32"),
            library.layers.Embedding(20, 4),
            library.layers.Flatten(),
            library.layers.Dense(3, name="dense"),
        ]
    )
    random = np.random.default_rng(3)
    model.set_weights([0.3 * random.normal(size=w.shape) for w in model.get_weights()])
    return model


def batches():
    random = np.random.default_rng(4)
    return random.integers(0, 20, (32, 5)), random.normal(size=(32, 3)).astype("float32")


@LIBRARIES
@each_fixture
def test_fit_gives_what_a_loop_gives_on_optimizer_v2(make, library):
    inputs, targets = batches()
    model, reference = embedding_model(library), embedding_model(library)
    ours, theirs = make(OURS), make(V2)
    ours.clipnorm = theirs.clipnorm = None
    model.compile(ours, loss=library.losses.MeanSquaredError())
    model.fit(inputs, targets, batch_size=8, epochs=2, shuffle=False, verbose=0)
    variables = [getattr(v, "value", v) for v in reference.trainable_variables]
    if library is tf_keras:
        variables = reference.trainable_variables
    for start in [*range(0, 32, 8)] * 2:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(
                (reference(inputs[start : start + 8]) - targets[start : start + 8]) ** 2
            )
        theirs.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
    assert model.optimizer is ours
    assert_same(theirs, ours, variables, model.trainable_variables, 2e-5)


@pytest.mark.timeout(120)
@LIBRARIES
def test_fit_in_replicas(library, mirrored):
    if library is keras and keras.__version__.startswith("3.0."):
        pytest.skip("Keras 3.0 sums the replicas' mean losses, with its own optimizers too.")
    inputs, targets = batches()
    weights = []
    for scope in (mirrored.scope, _no_scope):
        with scope():
            model = embedding_model(library)
            model.compile(FIXTURES["averaging"](OURS), loss=library.losses.MeanSquaredError())
        model.fit(inputs, targets, batch_size=8, epochs=2, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for mine, expected in zip(*weights, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-5)


_no_scope = contextlib.nullcontext


@LIBRARIES
@pytest.mark.parametrize("name", ["Nadam"])  # slots and a scalar
def test_a_saved_model_goes_on_with_its_optimizer(name, library, tmp_path):
    inputs, targets = batches()
    model = embedding_model(library)
    model.compile(getattr(OURS, name)(0.05), loss=library.losses.MeanSquaredError())
    model.fit(inputs, targets, batch_size=8, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = library.models.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is getattr(OURS, name)
    for m in (model, loaded):
        m.fit(inputs, targets, batch_size=8, shuffle=False, verbose=0)
    for expected, actual in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(actual, expected)
    weights = zip(model.optimizer.get_weights(), loaded.optimizer.get_weights(), strict=True)
    assert all(np.array_equal(expected, actual) for expected, actual in weights)


@LIBRARIES
def test_a_saved_model_goes_on_with_a_wrapper_and_what_it_wraps(library, tmp_path):
    inputs, targets = batches()
    model = embedding_model(library)
    cls = third_party.averaging(OURS)
    model.compile(cls(OURS.Adam(0.05)), loss=library.losses.MeanSquaredError())
    model.fit(inputs, targets, batch_size=8, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = library.models.load_model(tmp_path / "model.keras", custom_objects={"Averaging": cls})
    assert type(loaded.optimizer) is cls
    for m in (model, loaded):
        m.fit(inputs, targets, batch_size=8, shuffle=False, verbose=0)
    weights = [m.get_weights() + m.optimizer.get_weights() for m in (model, loaded)]
    assert len(model.optimizer.get_weights()) == 1 + 3 * 3
    for expected, actual in zip(*weights, strict=True):
        np.testing.assert_array_equal(actual, expected)


# --- checkpoints ----------------------------------------------------------------------------------


@pytest.mark.parametrize("deferred", [False, True], ids=["built", "deferred"])
@pytest.mark.parametrize("source, target", [(V2, OURS), (OURS, V2)], ids=["from_v2", "to_v2"])
@each_fixture
def test_checkpoints_go_both_ways(make, source, target, deferred, tmp_path):
    steps = random_steps(8, repeated=False)
    optimizer, variables = make(source), new_variables()
    run_eagerly(optimizer, variables, steps[:4])
    path = tf.train.Checkpoint(optimizer=optimizer, variables=variables).save(
        str(tmp_path / "ckpt")
    )

    restored, new = make(target), new_variables()
    if not deferred:
        restored._create_all_weights(new)
    status = tf.train.Checkpoint(optimizer=restored, variables=new).restore(path)
    for opt, vs in ((optimizer, variables), (restored, new)):
        run_eagerly(opt, vs, steps[4:])
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
        run_eagerly(optimizer, variables, steps[:4])
        restored, new = make(target), new_variables()
        for variable, other in zip(new, variables, strict=True):
            variable.assign(other)
        restored._create_all_weights(new)
        restored.set_weights(optimizer.get_weights())
        for opt, vs in ((optimizer, variables), (restored, new)):
            run_eagerly(opt, vs, steps[4:])
        assert_same(optimizer, restored, variables, new)


# --- names that subclasses rely on ----------------------------------------------------------------


def recording(legacy, calls):
    """An optimizer that notes which hooks are called, in which order, with what."""

    def noting(hook):
        def method(self, *args, **kwargs):
            if hook == "_resource_apply_sparse_duplicate_indices":
                calls.append((hook, sorted(kwargs), args[2].numpy().tolist()))
            elif "resource" in hook:
                calls.append((hook, sorted(kwargs), args[0].numpy().tolist()))
            else:
                calls.append(hook)
            return getattr(super(Recording, self), hook)(*args, **kwargs)

        return method

    hooks = (
        "_compute_gradients",
        "_transform_loss",
        "_get_gradients",
        "_create_all_weights",
        "_create_slots",
        "_prepare",
        "_prepare_local",
        "_transform_unaggregated_gradients",
        "_aggregate_gradients",
        "_transform_gradients",
        "_resource_apply_dense",
        "_resource_apply_sparse_duplicate_indices",
        "_resource_apply_sparse",
    )

    class Recording(legacy.Adam):
        pass

    for hook in hooks:
        method = noting(hook)
        if hook in ("_resource_apply_dense", "_resource_apply_sparse"):
            method.__signature__ = inspect.signature(getattr(legacy.Adam, hook))
        setattr(Recording, hook, method)
    return Recording(0.1)


def test_hooks_are_called_in_the_order_of_optimizer_v2_with_the_same_arguments():
    recorded = []
    for legacy in (V2, OURS):
        calls, (table, bias) = [], new_variables()
        optimizer = recording(legacy, calls)

        def loss(table=table, bias=bias):
            return tf.reduce_sum(tf.gather(table, [2, 1, 2]) ** 2) + tf.reduce_sum(bias**2)

        for _ in range(2):
            optimizer.minimize(loss, [table, bias])
        recorded.append(calls)
    theirs, ours = recorded
    assert len(ours) == 2 * 13
    assert ours[-3][2] == [2, 1, 2] or ours[-2][2] == [2, 1, 2]  # repeated as they came
    for expected, actual in zip(theirs, ours, strict=True):
        if isinstance(expected, str):
            assert actual == expected
        else:
            assert actual[:2] == expected[:2]
            np.testing.assert_allclose(actual[2], expected[2], 1e-12)


def test_a_hook_may_deal_with_repeated_indices_itself():
    class Counting(OURS.SGD):
        def _resource_apply_sparse_duplicate_indices(self, grad, var, indices, **kwargs):
            self.seen = len(indices)
            return var.scatter_sub(tf.IndexedSlices(grad, indices))

    table = tf.Variable(tf.zeros([3, 1]))
    optimizer = Counting()
    slices = tf.IndexedSlices(tf.ones([3, 1]), tf.constant([0, 0, 2]))
    optimizer.apply_gradients([(slices, table)])
    assert optimizer.seen == 3
    assert table.numpy().ravel().tolist() == [-2, 0, -1]


def test_clipping_sums_repeated_indices_first():
    """Where OptimizerV2 takes the norm of rows as they came."""
    table = tf.Variable(tf.zeros([3, 1]))
    slices = tf.IndexedSlices(tf.constant([[2.0], [2.0], [3.0]]), tf.constant([0, 0, 2]))
    OURS.SGD(1.0, clipnorm=1.0).apply_gradients([(slices, table)])
    np.testing.assert_allclose(table.numpy().ravel(), [-0.8, 0, -0.6], rtol=1e-6)


@each_variant
def test_apply_state_holds_what_optimizer_v2_puts_there(name, arguments):
    states = []
    for legacy in (V2, OURS):
        optimizer, variables = getattr(legacy, name)(0.05, **arguments), new_variables()
        optimizer._create_all_weights(variables)
        optimizer.iterations.assign(3)
        (state,) = optimizer._prepare(variables).items()
        states.append(state)
        place = variables[0].device, tf.float64
        assert state[0] == place
        assert optimizer._fallback_apply_state(*place).keys() == state[1].keys()
    (_, theirs), (_, ours) = states
    assert theirs.keys() <= ours.keys()
    for coefficient, value in theirs.items():
        np.testing.assert_allclose(ours[coefficient].numpy(), value.numpy(), rtol=1e-12)
        assert ours[coefficient].dtype == value.dtype


@each_variant
def test_changed_coefficients_have_the_effect_that_they_have_in_optimizer_v2(name, arguments):
    """Layer-wise learning rates and the like change `apply_state`, or give another one."""
    results = []
    for legacy in (V2, OURS):

        class Changed(getattr(legacy, name)):
            def _prepare_local(self, var_device, var_dtype, apply_state):
                super()._prepare_local(var_device, var_dtype, apply_state)
                apply_state[(var_device, var_dtype)]["lr_t"] *= 0.5

            def _resource_apply_dense(self, grad, var, apply_state=None):
                place = var.device, var.dtype.base_dtype
                mine = dict(apply_state[place])
                if "bias" in var.name:
                    mine["lr_t"] *= 3.0
                return super()._resource_apply_dense(grad, var, {place: mine})

        optimizer, variables = Changed(0.05, **arguments), new_variables()
        run_eagerly(optimizer, variables, random_steps())
        results.append((optimizer, variables))
    (theirs, their_variables), (ours, our_variables) = results
    assert_same(theirs, ours, their_variables, our_variables)


@each_base
def test_gradients_may_be_transformed_at_each_point(legacy):
    class Transformed(legacy.SGD):
        def _transform_loss(self, loss):
            return 2 * loss

        def _get_gradients(self, tape, loss, var_list, grad_loss=None):
            pairs = super()._get_gradients(tape, loss, var_list, grad_loss)
            return [(gradient + 1, variable) for gradient, variable in pairs]

        def _transform_unaggregated_gradients(self, grads_and_vars):
            return [(3 * gradient, variable) for gradient, variable in grads_and_vars]

        def _aggregate_gradients(self, grads_and_vars):
            pairs = super()._aggregate_gradients(grads_and_vars)
            return [(gradient + 1, variable) for gradient, variable in pairs]

        def _transform_gradients(self, grads_and_vars):
            pairs = super()._transform_gradients(grads_and_vars)
            return [(5 * gradient, variable) for gradient, variable in pairs]

    x = tf.Variable(1.0)
    optimizer = Transformed(0.01, clipvalue=9.0)
    optimizer.minimize(lambda: x * x / 2, [x])
    np.testing.assert_allclose(x.numpy(), 1 - 0.01 * 5 * 9, rtol=1e-6)  # 3 * (2 + 1) + 1, clipped
    x.assign(1.0)
    optimizer.clipvalue = None
    optimizer.minimize(lambda: x * x / 2, [x])
    np.testing.assert_allclose(x.numpy(), 1 - 0.01 * 5 * 10, rtol=1e-6)
    x.assign(1.0)
    with tf.GradientTape() as tape:
        loss = x * x / 2
    ((gradient, variable),) = optimizer._compute_gradients(loss, [x], tape=tape)
    assert gradient.numpy() == 3 and variable is x


@each_base
def test_aggregator_and_transformers_are_arguments(legacy):
    x = tf.Variable(1.0)
    optimizer = legacy.SGD(
        0.1,
        gradient_aggregator=lambda pairs: [(g + 1, v) for g, v in pairs],
        gradient_transformers=[lambda pairs: [(g * 2, v) for g, v in pairs]],
    )
    optimizer.apply_gradients([(tf.constant(1.0), x)])
    optimizer.apply_gradients([(tf.constant(1.0), x)], experimental_aggregate_gradients=False)
    np.testing.assert_allclose(x.numpy(), 1 - 0.1 * 4 - 0.1 * 2, rtol=1e-6)


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
def test_hooks_run_in_python_at_every_eager_step(legacy):
    class Counter(legacy.SGD):
        count = 0

        def _resource_apply_dense(self, grad, var, apply_state=None):
            self.count += 1
            return super()._resource_apply_dense(grad, var, apply_state)

    x, numbers = tf.Variable(0.0), iter([1.0, 10.0, 100.0])
    optimizer = Counter(lambda: next(numbers))
    for count in (1, 2, 3):
        optimizer.apply_gradients([(tf.constant(-1.0), x)])
        assert optimizer.count == count
    assert x.numpy() == 111


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


def test_slots_may_come_before_the_first_step():
    """A wrapper that delegates the whole step, and copies the model before."""

    class Shadow(OURS.Optimizer):
        def __init__(self, optimizer, name="Shadow", **kwargs):
            super().__init__(name, **kwargs)
            self._optimizer = optimizer

        def shadow(self, var_list):
            for var in var_list:
                self.add_slot(var, "shadow", initializer="zeros")

        def _create_slots(self, var_list):
            self._optimizer._create_slots(var_list=var_list)

        def apply_gradients(self, grads_and_vars, name=None):
            pairs = list(grads_and_vars)
            result = self._optimizer.apply_gradients(pairs, name)
            for _, var in pairs:
                self.get_slot(var, "shadow").assign(var)
            return result

    x = tf.Variable(1.0)
    optimizer = Shadow(OURS.SGD(0.5, momentum=0.5))
    optimizer.shadow([x])
    optimizer.minimize(lambda: x * x / 2, [x])
    assert optimizer.get_slot(x, "shadow").numpy() == x.numpy() == 0.5
    assert optimizer._optimizer.iterations.numpy() == 1


def test_a_wrapper_may_hold_an_optimizer_v2():
    class Forwarding(OURS.Optimizer):
        def __init__(self, optimizer, name="Forwarding", **kwargs):
            super().__init__(name, **kwargs)
            self._optimizer = optimizer

        def _create_slots(self, var_list):
            self._optimizer._create_slots(var_list=var_list)

        def apply_gradients(self, grads_and_vars, name=None, **kwargs):
            self._optimizer._iterations = self.iterations
            return super().apply_gradients(grads_and_vars, name, **kwargs)

        def _resource_apply_dense(self, grad, var):
            return self._optimizer._resource_apply_dense(grad, var)

        def _resource_apply_sparse(self, grad, var, indices):
            return self._optimizer._resource_apply_sparse(grad, var, indices)

    results = []
    for wrap in (lambda optimizer: optimizer, Forwarding):
        optimizer, variables = wrap(V2.Adam(0.1)), new_variables()
        run_in_a_function(optimizer, variables, random_steps())
        results.append(variables)
    for expected, actual in zip(*results, strict=True):
        np.testing.assert_allclose(actual.numpy(), expected.numpy(), 1e-12)


@each_of_eight
def test_half_precision_is_the_variable_s(name):
    results = []
    for legacy in (V2, OURS):
        x = tf.Variable([0.5, -0.25], dtype=tf.float16)
        optimizer = getattr(legacy, name)(0.125)
        for gradient in ([1.0, 0.5], [-0.5, 0.25]):
            optimizer.apply_gradients([(tf.constant(gradient, tf.float16), x)])
        assert all(w.dtype == tf.float16 for w in optimizer.weights[1:])
        results.append(x.numpy())
    np.testing.assert_allclose(results[1], results[0], rtol=2e-3, atol=2e-3)


@each_base
def test_gradients_and_updates_in_a_graph(legacy):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.Variable(3.0)
        optimizer = legacy.SGD(0.5)
        (gradient,) = optimizer.get_gradients(x * x, [x])
        updates = optimizer.get_updates(x * x, [x])
        session.run(tf.compat.v1.global_variables_initializer())
        assert session.run(gradient) == 6
        session.run(updates)
        assert session.run(x) == 0
        assert session.run(optimizer.iterations) == 1


# --- construction and copies ----------------------------------------------------------------------


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
    extra = {} if name == "Nadam" else {"decay": 0.5}
    theirs, ours = (
        getattr(legacy, name)(0.25, **arguments, **extra, clipnorm=1.0) for legacy in (V2, OURS)
    )
    expected = theirs.get_config()
    config = ours.get_config()
    assert {key: config[key] for key in expected} == expected
    assert config.keys() - expected.keys() <= {"beta", "l2_shrinkage_regularization_strength"}
    assert getattr(OURS, name).from_config(expected).get_config() == config
    assert getattr(V2, name).from_config(dict(expected)).get_config() == expected
    assert tfopt.get(tfopt.serialize(ours)).get_config() == config
    assert type(tfopt.get(tfopt.serialize(ours))) is getattr(OURS, name)
    assert type(tfopt.get({"class_name": name, "config": expected})) is getattr(tfopt, name)


@LIBRARIES
@each_of_eight
def test_either_keras_takes_and_serializes_them(library, name):
    optimizer = getattr(OURS, name)()
    assert library.optimizers.get(optimizer) is optimizer
    again = library.optimizers.deserialize(library.optimizers.serialize(optimizer))
    assert type(again) is getattr(OURS, name)
    assert again.get_config() == optimizer.get_config()


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


def test_hooks_may_be_called_outside_of_a_step():
    """As a wrapper does that updates a variable by the hooks of what it wraps."""
    after = []
    for legacy in (OURS, V2):
        x, y = tf.Variable([1.0, 2.0]), tf.Variable([[1.0], [2.0]])
        optimizer = legacy.Adam(0.25)
        optimizer._create_all_weights([x, y])
        optimizer._resource_apply_dense(tf.constant([0.5, -1.0]), x)
        optimizer._resource_apply_sparse_duplicate_indices(
            tf.constant([[0.5], [0.25]]), y, tf.constant([1, 1])
        )
        after.append([x.numpy(), y.numpy(), *optimizer.get_weights()])
    for one, other in zip(*after, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    optimizer = OURS.SGD(0.5)
    optimizer.resource_apply_dense(tf.constant([2.0, 0.0]), x := tf.Variable([1.0, 2.0]))
    np.testing.assert_allclose(x, [0.0, 2.0])


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


@pytest.mark.parametrize("name", ["decoupled_adam", "averaging"])
def test_a_loss_scale_leaves_out_steps_that_are_not_finite(name):
    results = []
    for wrap in (lambda optimizer: optimizer, tfopt.LossScaleOptimizer):
        inner, variables = FIXTURES[name](OURS), new_variables()
        optimizer = wrap(inner)
        scale = 1.0 if optimizer is inner else float(optimizer.loss_scale)
        for step in random_steps(3):
            pairs = [(scaled(g, scale), v) for g, v in zip(step, variables, strict=True)]
            optimizer.apply_gradients(pairs)
            if optimizer is not inner:
                before = [variable.numpy() for variable in variables]
                optimizer.apply_gradients([(scaled(g, np.inf), v) for g, v in pairs])
                scale = float(optimizer.loss_scale)
                for old, variable in zip(before, variables, strict=True):
                    np.testing.assert_array_equal(variable.numpy(), old)
        results.append((inner, variables))
    (plain, plain_variables), (guarded, guarded_variables) = results
    assert_same(plain, guarded, plain_variables, guarded_variables)


def test_a_loss_scale_that_would_be_lost_raises():
    class Delegating(OURS.Optimizer):
        def __init__(self, name="Delegating"):
            super().__init__(name)
            self.inner = OURS.SGD()

        def apply_gradients(self, grads_and_vars, name=None):
            return self.inner.apply_gradients(grads_and_vars, name)

    x = tf.Variable(1.0)
    Delegating().apply([tf.constant(1.0)], [x])
    with pytest.raises(RuntimeError, match="base class"):
        tfopt.LossScaleOptimizer(Delegating()).apply_gradients([(tf.constant(1.0), x)])


@LIBRARIES
def test_mixed_precision(library):
    inputs, targets = batches()
    weights = []
    try:
        for policy in ("float32", "mixed_float16"):
            if library is keras:
                keras.config.set_dtype_policy(policy)
            else:
                tf_keras.mixed_precision.set_global_policy(policy)
            model = embedding_model(library)
            optimizer = third_party.averaging(OURS)(OURS.SGD(0.05, momentum=0.5))
            model.compile(optimizer, loss=library.losses.MeanSquaredError())
            model.fit(inputs, targets, batch_size=8, shuffle=False, verbose=0)
            assert len(optimizer.weights) == 1 + 2 * 3
            assert optimizer.iterations.numpy() == 4
            weights.append(model.get_weights())
    finally:
        keras.config.set_dtype_policy("float32")
        tf_keras.mixed_precision.set_global_policy("float32")
    for expected, actual in zip(*weights, strict=True):
        np.testing.assert_allclose(actual, expected, atol=0.02)


@LIBRARIES
def test_callbacks_and_h5_files_with_a_wrapper(library, tmp_path):
    inputs, targets = batches()
    model, cls = embedding_model(library), third_party.averaging(OURS)
    optimizer = cls(OURS.Adam(0.05))
    model.compile(optimizer, loss=library.losses.MeanSquaredError())
    callbacks = [
        library.callbacks.TensorBoard(str(tmp_path)),
        library.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5),
    ]
    model.fit(inputs, targets, batch_size=8, verbose=0, callbacks=callbacks)
    np.testing.assert_allclose(float(optimizer.learning_rate), 0.025)
    model.save(tmp_path / "model.h5")
    with library.saving.custom_object_scope({"Averaging": cls}):
        loaded = library.models.load_model(tmp_path / "model.h5")
    weights = []
    for each in (model, loaded):
        each.fit(inputs, targets, batch_size=8, shuffle=False, verbose=0)
        weights.append([*each.get_weights(), *each.optimizer.get_weights()])
    for expected, actual in zip(*weights, strict=True):
        np.testing.assert_array_equal(actual, expected)


@each_fixture
def test_a_deep_copy_goes_on_by_itself(make):
    steps = random_steps(6)
    optimizer, variables = make(OURS), new_variables()
    run_eagerly(optimizer, variables, steps[:3])
    twin, twin_variables = copy.deepcopy((optimizer, variables))
    for opt, vs in ((twin, twin_variables), (optimizer, variables)):
        run_eagerly(opt, vs, steps[3:])
    assert_same(optimizer, twin, variables, twin_variables, 0)
    assert not {id(w) for w in optimizer.weights} & {id(w) for w in twin.weights}
    alone = copy.deepcopy(optimizer)
    assert alone.get_slot_names() == optimizer.get_slot_names()
    for name in alone.get_slot_names():
        expected = optimizer.get_slot(variables[0], name).numpy()
        np.testing.assert_array_equal(alone.get_slot(variables[0], name).numpy(), expected)


@each_of_eight
def test_a_pickle_holds_the_state(name):
    optimizer, variables = getattr(OURS, name)(0.05), new_variables()
    run_eagerly(optimizer, variables, random_steps(3))
    again, other = pickle.loads(pickle.dumps(optimizer)), new_variables()
    for variable, value in zip(other, variables, strict=True):
        variable.assign(value)
    for opt, vs in ((optimizer, variables), (again, other)):
        run_eagerly(opt, vs, random_steps(2))
    assert_same(optimizer, again, variables, other, 0)


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


# --- the page -------------------------------------------------------------------------------------

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "legacy.md").read_text()


def table(heading):
    """The rows of the table under a heading, each as lists of the names in its cells."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return [[re.findall(r"`(\w+)`", cell) for cell in row] for row in rows]


def names_of(legacy):
    """All names that the eight of OptimizerV2, or tfopt's, have once they are used."""
    names = set()
    for name in EIGHT:
        optimizer = getattr(legacy, name)()
        optimizer._create_all_weights([tf.Variable(1.0)])
        names |= {*dir(optimizer), *vars(optimizer)}
    return {name for name in names if not name.startswith(("__", "_self_", "_keras_api"))}


def test_the_page_lists_every_name_of_optimizer_v2():
    kept = {name for row in table("Names that are kept") for name in row[0]}
    dropped = {name for row in table("Names that are not kept") for name in row[0]}
    tracking = set(dir(tf.__internal__.tracking.Trackable()))
    assert names_of(V2) - tracking - {"_m_cache_read"} == (kept | dropped) - tracking
    assert not kept & dropped
    assert kept <= names_of(OURS)
    assert not dropped & names_of(OURS)


def test_the_page_names_a_test_for_every_name_that_is_kept():
    for names, *_, tests in table("Names that are kept"):
        assert names and tests
        for test in tests:
            assert callable(globals()[test]), test
    for test in re.findall(r"`(test_\w+)`", PAGE):
        assert callable(globals()[test]), test


def test_the_code_on_the_page_runs():
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.M | re.S)
    names = {}
    exec(compile(block, "legacy.md", "exec"), names)
    np.testing.assert_allclose(names["x"].numpy(), [0.9, -1.9], rtol=1e-6)
