"""What `tfopt.inspect` says of an optimizer is what the optimizer does."""

import io
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from rich.console import Console
from training import each_case

import tfopt

# --- the table ------------------------------------------------------------------------------------


def ops_of(function):
    """The nodes of a concrete function and of all that it calls."""
    definition = function.graph.as_graph_def()
    yield from definition.node
    for called in definition.library.function:
        yield from called.node_def


def path_taken(optimizer, variable):
    """How a dense step runs, read off its graph."""
    step = tf.function(lambda g: optimizer.apply_gradients([(g, variable)]))
    function = step.get_concrete_function(tf.TensorSpec(variable.shape, variable.dtype))
    if any(node.op.startswith("ResourceApply") for node in ops_of(function)):
        return "fused"
    called = function.graph.as_graph_def().library.function
    compiled = any(inner.attr["_XlaMustCompile"].b for inner in called)
    return "XLA" if compiled else "plain"


@each_case
@pytest.mark.parametrize(
    "changes",
    [{}, {"clipnorm": 1.0}, {"weight_decay": 0.5}, {"jit_compile": True}, {"jit_compile": False}],
    ids=["plainly", "clipnorm", "decay", "compiled", "not_compiled"],
)
def test_the_path_is_the_one_taken(case, changes):
    if "weight_decay" in changes and (
        case.cls.decays is None or case.arguments.get("weight_decay")
    ):
        pytest.skip("decays by itself, or cannot")
    optimizer = case.make(**changes)
    variable = tf.Variable(tf.ones([128, 64]), name="w")
    [row] = tfopt.inspect.describe(optimizer, [variable])
    assert not optimizer.built  # it changed nothing
    assert row.path == path_taken(optimizer, variable)
    assert tfopt.inspect.describe(optimizer) == [row]  # built or not


def test_half_precision_takes_no_kernel():
    variable = tf.Variable(tf.ones([4], tf.bfloat16), name="w")
    [row] = tfopt.inspect.describe(tfopt.Adam(), [variable])
    assert (row.path, row.dtype, row.slot_bytes) == ("XLA", "bfloat16", 2 * 4 * 4)


@each_case
def test_slots_are_those_created(case):
    optimizer = case.make()
    variables = [tf.Variable(tf.ones(shape), name=f"w{len(shape)}") for shape in ([3, 5], [4], [])]
    rows = tfopt.inspect.describe(optimizer, variables)
    optimizer.build(variables)
    for row, variable in zip(rows, variables, strict=True):
        slots = {name: optimizer.get_slot(variable, name) for name in row.slots}
        assert {name: tuple(slot.shape) for name, slot in slots.items()} == row.slots
        assert row.slot_bytes == sum(slot.numpy().nbytes for slot in slots.values())
        assert row.sparse == optimizer._engine.sparse(row.role)
        assert row.sparse == case.sparse or case.cls.roles
    assert {name for row in rows for name in row.slots} == set(case.slots)


def test_slots_of_policies_are_told():
    half = tf.Variable(tf.ones([3, 2], tf.float16), name="half")
    policies = {"master_weights": True, "use_ema": True, "gradient_accumulation_steps": 2}
    optimizer = tfopt.SGD(0.5, **policies)
    [row] = tfopt.inspect.describe(optimizer, [half])
    assert not optimizer.built
    optimizer.build([half])
    assert tfopt.inspect.describe(optimizer) == [row]
    assert {"master_weight", "ema_average", "accumulated_gradient"} <= row.slots.keys()


def test_lazy_and_decay_are_told():
    table, bias = tf.Variable(tf.ones([9, 2]), name="table"), tf.Variable([1.0], name="bias")
    optimizer = tfopt.AdamW(lazy=True, exclude_from_weight_decay=["bias"])
    rows = tfopt.inspect.describe(optimizer, [table, bias])
    assert [row.sparse for row in rows] == ["rows", "rows"]
    assert [row.decays for row in rows] == [True, False]
    assert not tfopt.inspect.describe(tfopt.Adam(), [table])[0].decays


def test_an_optimizer_of_hooks_is_told():
    class ByHooks(tfopt.Optimizer):
        def resource_apply_dense(self, grad, var):
            return var.assign_sub(grad)

    [row] = tfopt.inspect.describe(ByHooks(), [tf.Variable([1.0], name="w")])
    assert row.path == "hooks"


@pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_summary_prints_a_model(library):
    model = library.Sequential([library.layers.Dense(3, name="first")])
    model.build((None, 2))
    out = io.StringIO()
    tfopt.inspect.summary(tfopt.Adam(0.5), model, console=Console(file=out, width=160))
    text = out.getvalue()
    for part in ("first/kernel", "2 × 3 float32", "m, v", "48", "exact", "fused", "2 variables"):
        assert part in text, part


def test_a_mirrored_variable_is_told(mirrored):
    with mirrored.scope():
        variable = tf.Variable(tf.ones([4]), name="w")
    optimizer = tfopt.Adam()
    before = tfopt.inspect.describe(optimizer, [variable])
    with mirrored.scope():
        optimizer.build([variable])
    assert tfopt.inspect.describe(optimizer) == before
    assert before[0].path == "fused"


def test_what_is_no_optimizer_or_no_variable_raises():
    with pytest.raises(TypeError, match="`optimizer` must be a tfopt.Optimizer"):
        tfopt.inspect.describe(keras.optimizers.Adam(), [tf.Variable(1.0)])
    with pytest.raises(ValueError, match="`variables` must be a model or variables"):
        tfopt.inspect.describe(tfopt.Adam())
    with pytest.raises(TypeError, match="`variables` must be a model or variables; got 1.0"):
        tfopt.inspect.describe(tfopt.Adam(), [1.0])


def test_a_missing_package_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "rich.table", None)
    with pytest.raises(ImportError, match=r"needs rich.*pip install 'tfopt\[inspect\]'"):
        tfopt.inspect.summary(tfopt.Adam(), [tf.Variable(1.0)])


# --- figures --------------------------------------------------------------------------------------


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
            optimizer.minimize(quadratic(x), [x])
        if watch:
            watch.close()
        step = tf.function(lambda: optimizer.minimize(quadratic(x), [x]))
        return x.numpy(), step.get_concrete_function(), optimizer

    unwatched, function, optimizer = train(False)
    watched, after, closed = train(True)
    assert np.array_equal(unwatched, watched)
    assert len(list(ops_of(function))) == len(list(ops_of(after)))
    assert len(optimizer.weights) == len(closed.weights)
    assert len(tf.train.Checkpoint(o=optimizer).save_counter.shape) == 0
    with tfopt.inspect.Watch(closed):
        x = tf.Variable([1.0])
        step = tf.function(lambda: closed.minimize(quadratic(x), [x]))
        assert len(list(ops_of(step.get_concrete_function()))) > len(list(ops_of(function)))


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


def test_one_watch_at_a_time_and_arguments_are_checked():
    optimizer = tfopt.SGD()
    with tfopt.inspect.Watch(optimizer):
        with pytest.raises(ValueError, match="`optimizer` must not be watched already"):
            tfopt.inspect.Watch(optimizer)
    tfopt.inspect.Watch(optimizer).close()
    with pytest.raises(ValueError, match="`every` must be an integer >= 1; got 0"):
        tfopt.inspect.Watch(optimizer, every=0)
    with pytest.raises(ValueError, match="`every` must be an integer >= 1; got 0"):
        tfopt.inspect.TensorBoard("logs", every=0)
    with pytest.raises(TypeError, match="`optimizer` must be a tfopt.Optimizer"):
        tfopt.inspect.Watch(keras.optimizers.Adam())


def scalars_in(folder):
    """{tag: {step: value}} of the events in a folder."""
    found = {}
    for path in pathlib.Path(folder).rglob("events*"):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
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
    # Gone again: another one may watch, and the train function was made anew.
    tfopt.inspect.Watch(optimizer).close()
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


# --- paths ----------------------------------------------------------------------------------------


def bowl(x, y):
    return x * x + 4 * y * y


def test_trajectories_are_the_optimizers_own():
    path = tfopt.inspect.trajectory(tfopt.SGD(0.125), bowl, (2, 1), 3)
    np.testing.assert_array_equal(path, [(2 * 0.75**t, 1.0 if t == 0 else 0.0) for t in range(4)])


def test_optimizers_are_left_as_they_are_and_drawn():
    ours, theirs = tfopt.Adam(0.1), keras.optimizers.Adam(0.1)
    optimizers = {"ours": ours, "theirs": theirs}
    axes = tfopt.inspect.plot_trajectories(optimizers, bowl, (2, 1), steps=5)
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    assert lines["ours"].shape == (6, 2)
    np.testing.assert_allclose(lines["ours"], lines["theirs"], rtol=1e-5)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["ours", "theirs"]
    left, right = axes.get_xlim()
    assert left < lines["ours"][:, 0].min() and right > 2
    assert not ours.built and int(np.array(theirs.iterations)) == 0


def test_a_list_is_labelled_by_names_and_wrong_arguments_raise():
    axes = tfopt.inspect.plot_trajectories([tfopt.SGD(0.1, name="a")], bowl, (2, 1), steps=1)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a"]
    with pytest.raises(ValueError, match="`optimizers` must hold one at least"):
        tfopt.inspect.plot_trajectories([], bowl, (2, 1))
    with pytest.raises(ValueError, match="`start` must be two numbers; got 2"):
        tfopt.inspect.trajectory(tfopt.SGD(), bowl, 2, 1)
    with pytest.raises(ValueError, match="`steps` must be an integer >= 0; got -1"):
        tfopt.inspect.trajectory(tfopt.SGD(), bowl, (2, 1), -1)
