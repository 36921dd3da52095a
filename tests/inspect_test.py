"""What `tfopt.inspect` says of an optimizer is what the optimizer does."""

import io
import sys

import keras
import pytest
import tensorflow as tf
import tf_keras
from rich.console import Console
from training import each_case, each_kind

import tfopt


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


@each_kind
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
    for part in (
        "first/kernel",
        "2 × 3",
        "m, v",
        "48",
        "exact",
        "fused",
        "2 variables, 9 parameters",
    ):
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


def text_of(optimizer, variables, width=80):
    """The summary as a text, of which every line fits."""
    text = tfopt.inspect.summary(optimizer, variables, as_text=True, width=width)
    assert max(map(len, text.splitlines())) <= width
    return text


def named(*paths, shape=(4, 8)):
    """Variables of these names, of which those that end in `bias` have one axis."""
    shapes = [shape[-1:] if path.endswith("bias") else shape for path in paths]
    return [tf.Variable(tf.ones(s), name=p) for p, s in zip(paths, shapes, strict=True)]


LAYERS = [
    f"encoder/block_{n}/self_attention/{name}" for n in range(2) for name in ("query", "bias")
]


def test_long_names_are_folded_and_no_word_is_broken():
    variables = named("a_very_long_name_of_a_head/bias", *LAYERS)
    words = {
        word for v in variables for word in v.name.removesuffix(":0").replace("_", "/").split("/")
    }
    for width in (120, 80, 60):
        text = text_of(tfopt.AdamW(exclude_from_weight_decay=["bias"]), variables, width)
        assert words <= set(text.replace("_", "/").replace("/", " ").split())
        if width < 100:
            assert text.count("encoder/") == 1  # once, above those that share it
    assert "encoder/block_1/self_attention/query" in text_of(tfopt.Adam(), variables, 120)


def test_what_is_alike_is_said_once_and_the_rest_is_summed_up():
    text = text_of(tfopt.Adam(), named("w", "bias"))
    assert "All variables: dtype float32; slots m, v; decay no: weight_decay is not set;" in text
    assert "2 variables, 40 parameters, 320 bytes of slots, 8 for each parameter." in text


def test_each_reason_not_to_decay_is_told():
    w, bias = named("w", "bias")

    def reasons(optimizer):
        rows = tfopt.inspect.describe(optimizer, [w, bias])
        assert [row.decays for row in rows] == [not row.undecayed_because for row in rows]
        return [row.undecayed_because for row in rows]

    def adam(**keywords):
        return tfopt.AdamW(**keywords)

    layer = keras.layers.Dense(8)
    layer.build((None, 4))
    by_function = tfopt.groups.biases_and_norms
    assert reasons(tfopt.Adam()) == ["weight_decay is not set"] * 2
    assert reasons(tfopt.Ftrl()) == ["Ftrl has no weight decay"] * 2
    assert reasons(adam(weight_decay=0.0)) == ["weight_decay is 0"] * 2
    for entry, reason in (
        ("b.as", "excluded by 'b.as'"),
        (by_function, "excluded by biases_and_norms"),
        (bias, "excluded"),
    ):
        assert reasons(adam(exclude_from_weight_decay=[entry])) == ["", reason]
    [_, of_layer] = tfopt.inspect.describe(
        adam(exclude_from_weight_decay=[layer]), [w, layer.kernel]
    )
    assert of_layer.undecayed_because == "excluded by its layer"
    in_group = "weight_decay is 0 in its group"
    assert reasons(adam(groups={"bias": {"weight_decay": 0.0}})) == ["", in_group]
    assert reasons(adam(groups={"bias": {"weight_decay_factor": 0.0}})) == ["", in_group]
    assert reasons(adam(weight_decay=0.0, groups={"w": {"weight_decay": 1.0}})) == [
        "",
        "weight_decay is 0",
    ]
    assert reasons(adam(groups={"w": {"learning_rate": 0.0}})) == ["its learning rate is 0", ""]
    parts = tfopt.MultiOptimizer({"w": tfopt.Lion()}, tfopt.LARS(weight_decay=0.1))
    assert reasons(parts) == ["weight_decay is not set", "its role is 'plain'"]
    around = tfopt.Lookahead(tfopt.LARS(weight_decay=0.1))
    assert reasons(around) == ["", "its role is 'plain'"]


def test_variables_of_lars_that_do_not_decay_are_told():
    variables, optimizer = named("w", "bias"), tfopt.LARS(1.0, weight_decay=0.5)
    rows = tfopt.inspect.describe(optimizer, variables)
    optimizer.apply_gradients([(1e-9 * tf.ones_like(v), v) for v in variables])
    assert [row.decays for row in rows] == [
        float(v[..., 0].numpy().ravel()[0]) < 0.9999 for v in variables
    ]


def test_biases_that_decay_are_pointed_out():
    variables = named("w", "layer/bias")
    hint = "exclude_from_weight_decay=tfopt.groups.biases_and_norms"
    assert hint in text_of(tfopt.AdamW(), variables) and hint not in text_of(
        tfopt.Adam(), variables
    )
    without = tfopt.AdamW(exclude_from_weight_decay=tfopt.groups.biases_and_norms)
    assert text_of(without, variables).count("biases_and_norms") == 2  # the repr, and the reason


def test_long_reasons_stand_below_a_narrow_table():
    optimizer = tfopt.AdamW(exclude_from_weight_decay=["self_attention.*bias"])
    text = text_of(optimizer, named(*LAYERS), 60)
    assert text.count("no (a)") == 2
    assert "(a) does not decay: excluded by 'self_attention.*bias'." in text


def test_without_rich_the_same_is_printed(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    tfopt.inspect.summary(tfopt.Adam(), named("w"), width=80)
    assert capsys.readouterr().out == text_of(tfopt.Adam(), named("w")) + "\n"
