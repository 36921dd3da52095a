"""What `Watch` and the TensorBoard callback record of a step is what the step did."""

import contextlib
import pathlib
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tfopt


def count_ops(function):
    """How many nodes a concrete function has, with those of all that it calls."""
    definition = function.graph.as_graph_def()
    return len(definition.node) + sum(len(f.node_def) for f in definition.library.function)


def quadratic(x):
    return lambda: tf.reduce_sum(x * x) / 2  # its gradient is x


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "function"])
@pytest.mark.parametrize(
    "clip, changed",
    [({}, 0), ({"clipnorm": 1.0}, 1), ({"global_clipnorm": 6.0}, 2), ({"clipvalue": 2.5}, 2)],
    ids=str,
)
def test_figures_are_those_of_the_step(clip, changed, traced):
    x, y = tf.Variable([3.0, 0.0], name="x"), tf.Variable([0.0, 4.0, 12.0], name="y")
    if clip == {"clipnorm": 1.0}:
        x.assign([0.6, 0.0])
    optimizer = tfopt.SGD(0.5, decay=1.0, **clip)

    def step():
        return optimizer.minimize(lambda: quadratic(x)() + quadratic(y)(), [x, y])

    step = tf.function(step) if traced else step
    with tfopt.inspect.Watch(optimizer, variables=[x, y], per_variable=True) as watch:
        for t in range(3):
            before = [x.numpy(), y.numpy()]
            with watch.step():
                step()
            change = [v.numpy() - old for v, old in zip((x, y), before, strict=True)]
            norms = [np.linalg.norm(part) for part in before]
            moves = [np.linalg.norm(part) for part in change]
            figures = watch.figures
            np.testing.assert_allclose(figures["learning_rate"], 0.5 / (1 + t), rtol=1e-6)
            np.testing.assert_allclose(figures["gradient_norm"], np.hypot(*norms), rtol=1e-6)
            ratio = np.hypot(*moves) / np.hypot(*norms)
            np.testing.assert_allclose(figures["update_ratio"], ratio, rtol=1e-6)
            np.testing.assert_allclose(figures["update_ratio/y"], moves[1] / norms[1], rtol=1e-6)
            if t == 0:
                assert figures["clipped_gradients"] == changed


def test_clips_are_counted_between_records():
    x = tf.Variable([3.0, 4.0])
    optimizer = tfopt.SGD(1.0, clipnorm=1.0)
    with tfopt.inspect.Watch(optimizer, every=3) as watch:
        counts = []
        for _ in range(6):  # norms 5, 4, 3; then 2, 1, 0
            with watch.step():
                optimizer.minimize(quadratic(x), [x])
            counts.append(watch.figures.get("clipped_gradients"))
    assert counts == [None, None, 3, 3, 3, 1]


def test_sparse_gradients_have_norms_too():
    table = tf.Variable(tf.ones([10, 1]))
    optimizer = tfopt.Adagrad(0.5, clipnorm=1.0)
    with tfopt.inspect.Watch(optimizer) as watch, watch.step():
        rows = tf.IndexedSlices(tf.constant([[1.0], [2.0], [4.0]]), tf.constant([1, 1, 3]))
        optimizer.apply_gradients([(rows, table)])
    assert watch.figures["gradient_norm"] == 5.0  # of the sums of repeated rows
    assert watch.figures["clipped_gradients"] == 1


def test_watching_changes_no_bit_and_unwatched_steps_hold_nothing():
    def train(watched):
        x = tf.Variable(tf.range(1.0, 7.0))
        optimizer = tfopt.Adam(0.1, global_clipnorm=1.0)
        watch = tfopt.inspect.Watch(optimizer) if watched else None
        for _ in range(5):
            with watch.step() if watch else contextlib.nullcontext():
                optimizer.minimize(quadratic(x), [x])
        if watch:
            watch.close()
        step = tf.function(lambda: optimizer.minimize(quadratic(x), [x]))
        return x.numpy(), step.get_concrete_function(), optimizer

    unwatched, function, optimizer = train(False)
    watched, after, closed = train(True)
    assert np.array_equal(unwatched, watched)
    assert count_ops(function) == count_ops(after)
    assert len(optimizer.weights) == len(closed.weights)
    assert len(tf.train.Checkpoint(o=optimizer).save_counter.shape) == 0
    with tfopt.inspect.Watch(closed):
        x = tf.Variable([1.0])
        step = tf.function(lambda: closed.minimize(quadratic(x), [x]))
        assert count_ops(step.get_concrete_function()) > count_ops(function)


def test_replicas_are_watched_as_one(mirrored):
    with mirrored.scope():
        x = tf.Variable([0.0, 0.0])
    optimizer = tfopt.SGD(1.0, clipnorm=1.0)

    @tf.function
    def step():
        def replica():
            first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
            gradient = tf.where(first, [3.0, 0.0], [0.0, 4.0])
            optimizer.apply_gradients([(gradient, x)])

        mirrored.run(replica)

    with tfopt.inspect.Watch(optimizer) as watch:
        for _ in range(2):
            with watch.step():
                step()
    assert watch.figures["gradient_norm"] == 5.0
    assert watch.figures["clipped_gradients"] == 1


def test_accumulation_is_watched_where_it_is_applied():
    x = tf.Variable([3.0, 4.0])
    optimizer = tfopt.SGD(0.5, gradient_accumulation_steps=2, clipnorm=1.0)
    with tfopt.inspect.Watch(optimizer, variables=[x]) as watch:
        seen = []
        for _ in range(4):
            with watch.step():
                optimizer.minimize(quadratic(x), [x])
            seen.append((watch.figures.get("gradient_norm"), watch.figures["update_ratio"]))
    np.testing.assert_allclose([ratio for _, ratio in seen], [0, 0.1, 0, 0.5 / 4.5], rtol=1e-6)
    assert [norm for norm, _ in seen] == [None, 5.0, None, 4.5]


def test_a_wrapper_stands_for_what_it_wraps():
    x = tf.Variable([3.0, 4.0])
    optimizer = tfopt.LossScaleOptimizer(tfopt.SGD(0.5), initial_scale=8.0)
    assert tfopt.inspect.describe(optimizer, [x])[0].path == "fused"
    with tfopt.inspect.Watch(optimizer) as watch, watch.step():
        optimizer.minimize(quadratic(x), [x])
    assert watch.figures["gradient_norm"] == 5.0  # of what was divided by the scale


def test_a_function_traced_before_is_told_of():
    x = tf.Variable([1.0])
    optimizer = tfopt.SGD(0.5)
    step = tf.function(lambda: optimizer.minimize(quadratic(x), [x]))
    step()
    with tfopt.inspect.Watch(optimizer) as watch:
        with pytest.warns(tfopt.TfoptWarning, match="traced before Watch was made"):
            with watch.step():
                step()
    assert watch.figures == {"learning_rate": 0.5, "update_ratio": 0.5}


def test_a_new_watch_closes_the_one_before():
    x = tf.Variable([3.0, 4.0])
    optimizer = tfopt.SGD(0.5)
    before = tfopt.inspect.Watch(optimizer)
    watch = tfopt.inspect.Watch(optimizer, variables=[x])
    with watch.step():
        optimizer.minimize(quadratic(x), [x])
    assert watch.figures["gradient_norm"] == 5.0
    with pytest.raises(RuntimeError, match="This Watch is closed, by `close` or by a newer Watch"):
        with before.step():
            pass
    before.close()  # it no longer is the optimizer's: the newer one goes on
    with watch.step():
        optimizer.minimize(quadratic(x), [x])
    assert watch.figures["gradient_norm"] == 2.5


def test_steps_without_figures_are_told_of():
    x = tf.Variable([1.0])
    optimizer = tfopt.SGD(0.5)
    with pytest.warns(tfopt.TfoptWarning, match="surround each training step by `with watch.step"):
        with tfopt.inspect.Watch(optimizer):
            optimizer.minimize(quadratic(x), [x])
    with pytest.warns(tfopt.TfoptWarning, match="there were 1 steps, and `every` is 2"):
        with tfopt.inspect.Watch(optimizer, every=2) as watch, watch.step():
            optimizer.minimize(quadratic(x), [x])
    with tfopt.inspect.Watch(optimizer):
        pass  # no steps: nothing is missing


def test_wrong_arguments_raise(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="`every` must be an integer >= 1; got 0"):
        tfopt.inspect.Watch(tfopt.SGD(), every=0)
    with pytest.raises(ValueError, match="`every` must be an integer >= 1; got 0"):
        tfopt.inspect.TensorBoard("logs", every=0)
    with pytest.raises(TypeError, match="`optimizer` must be a tfopt.Optimizer"):
        tfopt.inspect.Watch(keras.optimizers.Adam())
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ImportError, match="needs tensorboard.*: pip install tensorboard"):
        tfopt.inspect.Watch(tfopt.SGD(), tmp_path)


def test_health_tells_of_steps_that_are_much_too_large_or_small():
    names = ("large", "usual", "small", "still", "rows", "bias")
    sizes = (0.4, 1e-3, 2.0**-23, 0.0, 2.0**-23, 9.0)
    shapes = [[2, 2]] * 5 + [[2]]
    variables = [tf.Variable(tf.ones(s), name=n) for n, s in zip(names, shapes, strict=True)]
    optimizer = tfopt.SGD(1.0)
    dense = [tf.fill(shape, size) for shape, size in zip(shapes, sizes, strict=True)]
    dense[4] = tf.IndexedSlices(dense[4][:1], tf.constant([0]))
    with tfopt.inspect.Watch(optimizer, variables=variables) as watch:
        assert watch.health() == []
        for _ in range(3):
            for variable in variables:
                variable.assign(tf.ones_like(variable))
            with watch.step():
                optimizer.apply_gradients(zip(dense, variables, strict=True))
    usual = "of their size, where about 0.1 % is usual"
    assert watch.health() == [
        f"large: a step changes the weights by 40 % {usual}: lower the learning rate.",
        f"small: a step changes the weights by 0.000012 % {usual}: raise the learning rate.",
        f"still: a step changes the weights by 0 % {usual}: check that a gradient reaches it.",
    ]


def scalars_in(folder):
    """{tag: {step: value}} of the events in a folder."""
    found = {}
    for path in pathlib.Path(folder).rglob("events*"):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                if value.tensor.dtype == tf.string:  # of `health`
                    continue
                number = float(tf.make_ndarray(value.tensor))
                found.setdefault(value.tag, {})[event.step] = number
    return found


@pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_the_callback_writes_what_tensorboard_reads(library, tmp_path):
    model = library.Sequential([library.layers.Dense(1, name="only")])
    optimizer = tfopt.SGD(0.125, clipnorm=1e-6)
    model.compile(optimizer, loss=library.losses.MeanSquaredError())
    x, y = np.ones([12, 2], "float32"), np.full([12, 1], 100.0, "float32")
    model.fit(x, y, batch_size=4, verbose=0)  # traced before the callback is there
    callback = tfopt.inspect.TensorBoard(tmp_path, every=2, per_variable=True)
    model.fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=[callback])
    found = scalars_in(tmp_path)
    kernel = next(tag for tag in found if tag.endswith("/kernel") or tag.endswith("kernel:0"))
    assert set(found) >= {
        f"optimizer/{name}"
        for name in ("learning_rate", "gradient_norm", "update_ratio", "clipped_gradients")
    } | {kernel}
    assert found["optimizer/learning_rate"] == {5: 0.125, 7: 0.125, 9: 0.125}
    assert found["optimizer/clipped_gradients"] == {5: 4, 7: 4, 9: 4}  # two of each step
    assert all(norm > 1 for norm in found["optimizer/gradient_norm"].values())
    assert optimizer._engine.watch is None  # gone again, and the train function was made anew
    function = model.train_function
    model.fit(x, y, batch_size=4, verbose=0)
    assert model.train_function is function


def test_the_callback_finds_the_optimizer_in_a_loss_scale_wrapper(tmp_path):
    model = keras.Sequential([keras.layers.Dense(1)])
    wrapper = keras.optimizers.LossScaleOptimizer(tfopt.SGD(0.5), initial_scale=2.0)
    model.compile(wrapper, loss=keras.losses.MeanSquaredError())
    callback = tfopt.inspect.TensorBoard(tmp_path, every=1)
    model.fit(np.ones([4, 2]), np.ones([4, 1]), verbose=0, callbacks=[callback])
    assert scalars_in(tmp_path)["optimizer/learning_rate"] == {1: 0.5}


class Interrupt(keras.callbacks.Callback):
    """What a user does who stops the cell of a notebook."""

    def on_train_batch_end(self, batch, logs=None):
        raise KeyboardInterrupt


def test_an_interrupted_fit_can_be_started_again(tmp_path):
    model = keras.Sequential([keras.layers.Dense(1, name="only")])
    model.compile(tfopt.SGD(10.0), loss="mse")
    data = {"x": np.ones([8, 2], "float32"), "y": np.ones([8, 1], "float32"), "verbose": 0}
    with pytest.raises(KeyboardInterrupt) as kept:  # as a notebook keeps the last traceback
        board = tfopt.inspect.TensorBoard(tmp_path / "first", every=2)
        model.fit(**data, callbacks=[board, Interrupt()])
    board = tfopt.inspect.TensorBoard(tmp_path / "second", every=2)
    model.fit(**data, batch_size=2, callbacks=[board])
    assert kept.value.__traceback__ is not None
    assert board.watch.figures["gradient_norm"] > 0
    assert list(scalars_in(tmp_path / "second")["optimizer/learning_rate"]) == [3, 5]
    assert [line.split(":")[0].split("/")[-1] for line in board.watch.health()] == ["kernel"]
    written = b"".join(path.read_bytes() for path in (tmp_path / "second").rglob("events*"))
    assert b"lower the learning rate" in written
