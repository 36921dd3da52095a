"""`tfopt.legacy`: third parties' OptimizerV2 subclasses give what they give on their own base."""

import contextlib
import copy
import inspect
import pickle

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
        run_in_replicas(mirrored, optimizer, variables, random_steps())
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
@pytest.mark.parametrize("name", ["Adam", "Nadam", "SGD"])
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
