"""The architecture's proof: each extension is one class here, and no edit of the library.

All of them train op by op, in a `tf.function` and on two replicas, against formulas in NumPy.
"""

import copy
import gc
import inspect
import pickle
import weakref

import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt._engine import paths
from tfopt._engine.groups import Rule
from tfopt._engine.policy import Policy
from tfopt._policies import unscaling
from tfopt._policies.nonfinite import FiniteSteps
from tfopt._values import replicas
from tfopt._values.door import VALUE, Codec
from tfopt._values.initial import Kept
from tfopt._values.initial import copy as start_as
from tfopt.hyper import Hyper, Static

SHAPES = [(5, 3), (4,), (4,)]
LARGE = (80, 64)  # of which XLA makes a function
DTYPES = {"kernel_3": "bfloat16"}  # by name; others are float32

# --- training in three ways -----------------------------------------------------------------------


@pytest.fixture(params=["eager", "graph", "replicas"])
def mode(request):
    """How to train: on each of how many replicas, and how a step is called."""
    replicated = request.param == "replicas"
    return Mode(request.param, request.getfixturevalue("mirrored") if replicated else None)


class Mode:
    def __init__(self, name, strategy):
        self.name, self.strategy = name, strategy or tf.distribute.get_strategy()

    def start(self, shapes=SHAPES):
        """Variables: `bias_1` has one axis, `kernel_0` more."""
        with self.strategy.scope():
            return [
                tf.Variable(value, name=name, dtype=DTYPES.get(name, tf.float32))
                for name, value in first_values(shapes).items()
            ]

    def gradients(self, steps, shapes=SHAPES, seed=2):
        """For each step and variable those of all replicas, in numbers whose sums are exact."""
        random, count = np.random.default_rng(seed), self.strategy.num_replicas_in_sync
        return [[random.integers(-16, 17, (count, *s)) / 8 for s in shapes] for _ in range(steps)]

    def rows(self, steps, shape, seed=3):
        """The same for 4 rows of one variable, as (values, indices), which may be repeated."""
        random, count = np.random.default_rng(seed), self.strategy.num_replicas_in_sync
        values = random.integers(-16, 17, (steps, count, 4, *shape[1:])) / 8
        indices = random.integers(0, shape[0] - 1, (steps, count, 4))  # never the last one
        return [[pair] for pair in zip(values, indices, strict=True)]

    def trainer(self, optimizer, variables):
        return Trainer(self, optimizer, variables)

    def train(self, optimizer, steps, shapes=SHAPES):
        """The variables after these steps."""
        variables = self.start(shapes)
        self.trainer(optimizer, variables)(steps)
        return variables


class Trainer:
    """Calls the same step for each set of gradients, however often it is called itself."""

    def __init__(self, mode, optimizer, variables):
        self.optimizer, self.variables = optimizer, variables
        if mode.name == "eager":
            self.step = self._step
        elif mode.name == "graph":
            self.step = tf.function(self._step)
        else:
            self.step = tf.function(lambda grads: mode.strategy.run(self._step, args=(grads,)))

    def __call__(self, steps):
        for grads in steps:
            self.step(tf.nest.map_structure(tf.constant, grads))

    @property
    def traces(self):
        eager = len(self.optimizer._engine.functions)
        return eager + getattr(self.step, "experimental_get_tracing_count", lambda: 0)()

    def _step(self, grads):
        place = tf.distribute.get_replica_context().replica_id_in_sync_group
        pairs = []
        for gradient, variable in zip(grads, self.variables, strict=True):
            parts = [part[place] for part in tf.nest.flatten(gradient)]
            values = tf.cast(parts[0], variable.dtype)
            if len(parts) == 2:
                shape = tf.constant(variable.shape.as_list(), tf.int64)
                values = tf.IndexedSlices(values, parts[1], shape)
            pairs.append((values, variable))
        self.optimizer.apply_gradients(pairs)


def first_values(shapes):
    random = np.random.default_rng(1)
    names = [f"{'bias' if len(shape) == 1 else 'kernel'}_{i}" for i, shape in enumerate(shapes)]
    return {name: random.integers(-8, 9, s) / 8 for name, s in zip(names, shapes, strict=True)}


def sums(steps):
    """The gradients as one replica would have them, step by step, for each variable."""
    return list(zip(*[[grads.sum(0) for grads in own] for own in steps], strict=True))


def value(variable):
    """What all replicas have."""
    copies = [np.asarray(tf.convert_to_tensor(v)) for v in getattr(variable, "values", [variable])]
    for other in copies[1:]:
        np.testing.assert_array_equal(copies[0], other)
    return copies[0]


def assert_close(variables, expected, tolerance=1e-5):
    for variable, x in zip(variables, expected, strict=True):
        # In float64, as older NumPy cannot compare numbers of bfloat16.
        values = (np.asarray(numbers, "float64") for numbers in (value(variable), x))
        np.testing.assert_allclose(*values, tolerance, tolerance)


def assert_same(variables, others):
    for one, other in zip(variables, others, strict=True):
        np.testing.assert_array_equal(value(one), value(other))


def adamw(x, gradients, rate=0.1, decay=0.0, coupled=0.0, stored=lambda values: values):
    """AdamW, whose moments are `stored` between two steps, with a decay that they see, too."""
    m, v = np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(gradients, 1):
        g = g + coupled * x
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        alpha = rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        x = x - rate * decay * x - alpha * m / (np.sqrt(v) + 1e-7)
        m, v = stored(m), stored(v)
    return x


def names_of(weights):
    return [weight.name.split(":")[0] for weight in weights]


# --- a policy with state --------------------------------------------------------------------------


class Lookahead(Policy):
    """Every few steps slow weights move towards the fast ones, which go on from there."""

    sync_period = Static(5, whole=True, low=1)
    slow_step = Hyper(0.5, low=0, high=1)
    kept = {"slow": Kept()}

    def slots(self, x, first):
        return {"slow": start_as(x)}

    def after(self, step, works):
        def sync(own, work):
            cells = self.engine.state.cells(work.variable, own)
            x, slow = cells[VALUE], cells["slow"]
            before = slow.read()
            part = tf.cast(step.values["slow_step"], before.dtype)
            slow.write(before + part * (tf.cast(x.read(), before.dtype) - before))
            x.write(slow.read())

        @replicas.when(tf.equal((step.iterations + 1) % self.engine.statics["sync_period"], 0))
        def sync_all():
            replicas.each_copy(works, sync)


class Looking(tfopt.SGD, policies=[Lookahead]):
    pass


def looking_ahead(x, gradients, rate, period, slow_steps):
    slow = fast = x
    for t, (g, part) in enumerate(zip(gradients, slow_steps, strict=True), 1):
        fast = fast - rate * g
        if t % period == 0:
            slow = fast = slow + part * (fast - slow)
    return fast


def test_a_policy_keeps_a_slot_and_its_number_changes_without_a_retrace(mode):
    """The bfloat16 variable is its master weight rounded, and that is what looks ahead."""
    shapes = [*SHAPES, (4, 2)]
    steps = mode.gradients(9, shapes)
    opt = Looking(0.1, sync_period=3, slow_step=0.25, master_weights=True)
    variables = mode.start(shapes)
    assert variables[3].dtype == tf.bfloat16
    trainer = mode.trainer(opt, variables)
    trainer(steps[:6])
    traces = trainer.traces
    opt.slow_step = 0.75
    trainer(steps[6:])
    assert trainer.traces == traces
    parts = [0.25] * 6 + [0.75] * 3
    expected = [
        looking_ahead(x, g, 0.1, 3, parts)
        for x, g in zip(first_values(shapes).values(), sums(steps), strict=True)
    ]
    assert_close([*variables[:3], opt.get_slot(variables[3], "master_weight")], expected)
    assert_same(variables[3:], [tf.cast(opt.get_slot(variables[3], "master_weight"), tf.bfloat16)])
    assert_close([opt.get_slot(v, "slow") for v in variables], expected)


def test_keywords_of_a_policy_are_the_optimizers():
    assert {"sync_period", "slow_step"} <= inspect.signature(Looking).parameters.keys()
    assert "sync_period" not in inspect.signature(tfopt.SGD).parameters
    config = Looking(0.1, sync_period=3, slow_step=0.25).get_config()
    assert (config["sync_period"], config["slow_step"]) == (3, 0.25)
    again = Looking.from_config(config)
    assert again.get_config() == config
    assert (again.sync_period, float(again.slow_step)) == (3, 0.25)
    for wrong in ({"sync_period": 0}, {"slow_step": 1.5}, {"slow_step": -0.5}):
        with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` must be"):
            Looking(**wrong)
    with pytest.raises(ValueError, match="`slow_step` must be"):
        again.slow_step = 2.0
    again.build([tf.Variable(1.0)])
    with pytest.raises(ValueError, match="cannot change once slots exist"):
        again.sync_period = 4


def test_slots_of_a_policy_are_the_last_in_weights():
    """What acts last comes first among them; a block that is seen later changes no order."""
    opt = Looking(momentum=0.5, use_ema=True, master_weights=True, lazy=False)
    opt.build([tf.Variable([1.0], name="a"), tf.Variable([1.0], name="b", dtype=tf.bfloat16)])
    opt.build([tf.Variable([1.0], name="c")])
    own = ["iter", "a/momentum", "b/momentum", "c/momentum"]
    policies = ["a/slow", "b/slow", "b/master_weight", "a/ema_average", "b/ema_average"]
    names = names_of(opt.weights)
    assert names[0].split("/")[-1] == own[0]
    assert names[1:] == [*own[1:], *policies, "c/slow", "c/ema_average"]


# --- a policy inside the update -------------------------------------------------------------------


class CoupledDecay(Policy):
    """Decay that is a part of the gradient, so that moments see it."""

    coupled_decay = Hyper(None, off=None, low=0)

    @classmethod
    def is_used_by(cls, engine):
        return engine.uses("coupled_decay")

    @staticmethod
    def factor(update, h):
        return h["coupled_decay"]

    @staticmethod
    def enter(factor, g, x):
        return g + factor * x, x


class CoupledAdam(tfopt.Adam, policies=[CoupledDecay]):
    pass


class CoupledSGD(tfopt.SGD, policies=[CoupledDecay]):
    pass


def test_a_policy_acts_inside_updates(mode):
    """A kernel, which cannot know of it, is left out; without a keyword it has the update."""
    shapes = [LARGE, (5, 3), (4,)]
    steps = mode.gradients(6, shapes)
    for decay, path in ((None, "fused"), (0.25, "XLA")):
        opt = CoupledAdam(0.1, coupled_decay=decay)
        assert tfopt.inspect.describe(opt, [tf.Variable(tf.zeros(LARGE))])[0].path == path
        expected = [
            adamw(x, g, coupled=decay or 0.0)
            for x, g in zip(first_values(shapes).values(), sums(steps), strict=True)
        ]
        assert_close(mode.train(opt, steps, shapes), expected, 2e-5)


@pytest.mark.parametrize(
    "options", [{"coupled_decay": 0.25}, {"weight_decay": 0.25}], ids=["coupled", "decay"]
)
def test_hooks_of_users_get_what_policies_make_of_it_once(mode, options):
    """`update` is called in the hook with what has happened already."""

    class Hooked(CoupledSGD):
        def resource_apply_dense(self, grad, var):
            return super().resource_apply_dense(grad, var)

    shape = (20, 6)
    for steps in (mode.gradients(3, [shape]), mode.rows(3, shape)):
        [plain], [hooked] = (
            mode.train(c(0.5, **options), steps, [shape]) for c in (CoupledSGD, Hooked)
        )
        assert_close([hooked], [value(plain)])


# --- a policy that is a codec, too ----------------------------------------------------------------


class EightBits(Policy, Codec):
    """Moments as 8-bit codes, on a power scale, of the largest absolute value of their block."""

    code_block = Static(16, whole=True, low=1)
    suffixes = ("", "_absmax")
    by_rows = False  # a block may begin in one row and end in another

    def __init__(self, engine):
        # Not the engine itself: compiled functions are kept by codecs, and outlive optimizers.
        self.block = engine.statics["code_block"]

    def codec(self, x, name):
        return self if name in ("m", "v") else None

    def __eq__(self, other):
        return type(self) is type(other) and self.block == other.block

    def __hash__(self):
        return hash((type(self), self.block))

    def encode(self, value):
        blocks = self._blocks(value)
        largest = tf.reduce_max(tf.abs(blocks), axis=1, keepdims=True)
        part = tf.math.divide_no_nan(tf.abs(blocks), largest) ** (1 / 3)
        codes = tf.reshape(tf.sign(blocks) * tf.round(127 * part), [-1])[: tf.size(value)]
        return tf.cast(tf.reshape(codes, tf.shape(value)), tf.int8), largest[:, 0]

    def decode(self, codes, largest):
        part = self._blocks(tf.cast(codes, largest.dtype)) / 127
        values = tf.reshape(part**3 * largest[:, tf.newaxis], [-1])[: tf.size(codes)]
        return tf.reshape(values, tf.shape(codes))

    def _blocks(self, values):
        flat = tf.reshape(values, [-1])
        return tf.reshape(tf.pad(flat, [[0, -tf.size(flat) % self.block]]), [-1, self.block])


class CodedAdam(tfopt.Adam, policies=[EightBits], shared=True):
    pass


def coded(values, block=16):
    """The codes of values in NumPy, the largest of each block, and what both stand for."""
    codes, largest = np.empty(values.size), []
    for begin in range(0, values.size, block):
        own = values.ravel()[begin : begin + block]
        largest.append(np.abs(own).max())
        part = np.abs(own) / (largest[-1] or 1)
        codes[begin : begin + block] = np.sign(own) * np.round(127 * np.cbrt(part))
    scale = np.repeat(largest, block)[: values.size]
    decoded = (codes / 127) ** 3 * scale
    return codes.reshape(values.shape), np.array(largest), decoded.reshape(values.shape)


def through_codes(values):
    return coded(values)[2]


def test_a_codec_stores_slots_in_other_variables(mode):
    shapes = [LARGE, (5, 3), (4,)]
    steps, opt = mode.gradients(8, shapes), CodedAdam(0.01)
    variables = mode.train(opt, steps, shapes)
    starts = first_values(shapes).values()
    exact = [adamw(x, g, 0.01) for x, g in zip(starts, sums(steps), strict=True)]
    expected = [
        adamw(x, g, 0.01, stored=through_codes) for x, g in zip(starts, sums(steps), strict=True)
    ]
    for variable, x, other, first in zip(variables, expected, exact, starts, strict=True):
        moved, off = np.linalg.norm(x - first), np.linalg.norm(value(variable) - x)
        assert off < 1e-3 * moved < np.linalg.norm(other - x)  # a code may be rounded otherwise
        m, largest = opt.get_slot(variable, "m"), opt.get_slot(variable, "m_absmax")
        assert (m.dtype, m.shape) == (tf.int8, variable.shape)
        assert (largest.dtype, largest.shape) == (tf.float32, [-(-first.size // 16)])
        assert np.abs(value(m)).max() == 127


def test_parts_of_a_codec_are_known_by_name(mode):
    """In `weights` each part comes after the slot that it belongs to; files have the names."""
    opt, variables = CodedAdam(), mode.start(SHAPES[:2])
    mode.trainer(opt, variables)(mode.gradients(1, SHAPES[:2]))
    names = [f"{v}/{s}{p}" for s in "mv" for v in ("kernel_0", "bias_1") for p in ("", "_absmax")]
    assert names_of(opt.weights)[1:] == names
    assert opt.get_slot_names() == ["m", "m_absmax", "v", "v_absmax"]
    g = mode.gradients(1, SHAPES[:2])[0][0].sum(0)
    codes, largest, _ = coded(0.1 * g)
    np.testing.assert_array_equal(value(opt.get_slot(variables[0], "m")), codes)
    np.testing.assert_allclose(value(opt.get_slot(variables[0], "m_absmax")), largest, 1e-6)
    store = {}
    opt.save_own_variables(store)
    assert sorted(v.dtype.name for n, v in store.items() if n.startswith("slot.")) == (
        ["float32"] * 4 + ["int8"] * 4
    )


def test_the_table_of_an_optimizer_shows_what_a_codec_saves():
    variable = tf.Variable(tf.zeros(LARGE))
    [row] = tfopt.inspect.describe(CodedAdam(code_block=64), [variable])
    assert row.slots == dict(m=LARGE, m_absmax=(80,), v=LARGE, v_absmax=(80,))
    assert (row.slot_bytes, row.path) == (2 * (80 * 64 + 80 * 4), "XLA")


@pytest.mark.parametrize("lazy", [None, True], ids=["exact", "lazy"])
def test_gradients_of_rows_are_right_though_blocks_are_not_rows(mode, lazy):
    """Blocks of 16 in rows of 6: rows that share a block with others are coded anew with them."""
    shape = (20, 6)
    steps, opt = mode.rows(6, shape), CodedAdam(0.1, lazy=lazy)
    [variable] = mode.train(opt, steps, [shape])
    [x] = first = list(first_values([shape]).values())
    m, v = np.zeros(shape), np.zeros(shape)
    for t, [(values, indices)] in enumerate(steps, 1):
        g, rows = np.zeros(shape), np.unique(indices) if lazy else np.arange(20)
        np.add.at(g, indices.ravel(), values.reshape(-1, 6))
        m[rows] = 0.9 * m[rows] + 0.1 * g[rows]
        v[rows] = 0.999 * v[rows] + 0.001 * g[rows] ** 2
        alpha, x = 0.1 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t), x.copy()
        x[rows] -= alpha * m[rows] / (np.sqrt(v[rows]) + 1e-7)
        m, v = through_codes(m), through_codes(v)
    assert_close([variable], [x], 1e-4)
    assert np.all(value(variable)[19] == first[0][19])  # nobody asked for the last row
    np.testing.assert_allclose(value(opt.get_slot(variable, "m")), coded(m)[0], atol=1)


def test_codecs_of_one_configuration_share_compiled_functions(shared):
    gone = []
    for options in ({}, {"learning_rate": 0.5}, {"code_block": 32}, {"code_block": 16}):
        opt, variable = CodedAdam(**options), tf.Variable(tf.ones(LARGE))
        opt.apply_gradients([(tf.ones(LARGE), variable)])
        gone += [weakref.ref(opt), weakref.ref(variable)]
    del opt, variable
    gc.collect()
    assert len(shared) == 2
    assert not any(reference() for reference in gone)  # nothing of theirs is kept with functions


# --- state in and out -----------------------------------------------------------------------------


class DynamicScale(FiniteSteps):
    """The loss scale of float16 training: it is halved when a step is skipped, and grows else."""

    first_scale = Static(8.0, above=0)
    growth_steps = Static(2, whole=True, low=1)
    offers = {"loss_scale": property(lambda self: self._engine.state.counter("loss_scale"))}

    @property
    def counters(self):
        return {"loss_scale": float(self.engine.statics["first_scale"]), "good_steps": 0}

    def own_gradients(self, step, works):
        return unscaling.divided(works, self.engine.state.counter("loss_scale"))

    def decided(self, step, taken):
        scale, good = map(self.engine.state.counter, ("loss_scale", "good_steps"))
        good.assign(tf.where(taken, good + 1, 0))
        grows = tf.equal(good % self.engine.statics["growth_steps"], 0)
        scale.assign(tf.where(taken, tf.where(grows, 2 * scale, scale), scale / 2))


class Scaled(tfopt.SGD, policies=[DynamicScale]):
    pass


def from_pickle(optimizer, variables, others, make, folder):
    return pickle.loads(pickle.dumps(optimizer))


def from_deepcopy(optimizer, variables, others, make, folder):
    twin, theirs = copy.deepcopy((optimizer, variables))
    for v, other in zip(theirs, others, strict=True):
        np.testing.assert_array_equal(value(v), value(other))
    others[:] = theirs
    return twin


def from_checkpoint(optimizer, variables, others, make, folder, build=False):
    twin = make()
    if build:
        twin.build(others)
    path = tf.train.Checkpoint(optimizer=optimizer, v=variables).save(str(folder / "all"))
    status = tf.train.Checkpoint(optimizer=twin, v=others).restore(path)
    twin.build(others)
    status.assert_existing_objects_matched().assert_consumed()
    return twin


def from_checkpoint_into_slots(*args):
    return from_checkpoint(*args, build=True)


def from_store(optimizer, variables, others, make, folder):
    store, twin = {}, make()
    optimizer.save_own_variables(store)
    twin.load_own_variables(store)
    return twin


def from_store_into_slots(optimizer, variables, others, make, folder):
    store, twin = {}, make()
    optimizer.save_own_variables(store)
    twin.build(others)
    twin.load_own_variables(store)
    return twin


def from_list(optimizer, variables, others, make, folder):
    twin = make()
    twin.set_weights(optimizer.get_weights())
    twin.build(others)
    assert_same(twin.get_weights(), optimizer.get_weights())
    return twin


WAYS = [
    from_pickle,
    from_deepcopy,
    from_checkpoint,
    from_checkpoint_into_slots,
    from_store,
    from_store_into_slots,
    from_list,
]
EXTENDED = {
    "policy": lambda: Looking(0.1, sync_period=3, slow_step=0.25, master_weights=True),
    "codec": lambda: CodedAdam(0.1),
    "counters": lambda: Scaled(0.1),
}


@pytest.mark.parametrize("make", EXTENDED.values(), ids=EXTENDED)
def test_extensions_go_on_bit_for_bit(mode, make, tmp_path):
    """A break in the middle of a period, from whatever keeps state."""
    shapes = [*SHAPES[:2], LARGE, (4, 2)]
    opt, variables, steps = make(), mode.start(shapes), mode.gradients(8, shapes)
    trainer = mode.trainer(opt, variables)
    trainer(steps[:5])
    resumed = []
    for way in WAYS:
        others = mode.start(shapes)
        for other, variable in zip(others, variables, strict=True):
            other.assign(variable)
        resumed.append((way(opt, variables, others, make, tmp_path), others))
    trainer(steps[5:])
    for twin, others in resumed:
        mode.trainer(twin, others)(steps[5:])
        assert_same([*twin.weights, *others], [*opt.weights, *variables])
        assert names_of(twin.weights)[1:] == names_of(opt.weights)[1:]


def test_a_dynamic_loss_scale_skips_and_halves(mode):
    """One infinity, on the last replica only, and all replicas leave the step out."""
    steps = mode.gradients(6)
    steps[3][0][-1, 0, 0] = np.inf
    opt = Scaled(0.1)
    variables = mode.train(opt, steps)
    scale, expected = 8.0, list(first_values(SHAPES).values())
    for t, grads in enumerate(steps):
        if t == 3:
            scale /= 2
            continue
        expected = [x - 0.1 * g.sum(0) / scale for x, g in zip(expected, grads, strict=True)]
        scale *= 2 if t in (1, 5) else 1
    assert_close(variables, expected)
    assert value(opt.loss_scale) == scale == 16
    assert value(opt.iterations) == 5
    assert names_of(opt.weights)[-2:] == ["Scaled/loss_scale", "Scaled/good_steps"]


# --- a kernel that takes more ---------------------------------------------------------------------


class AdamOfOneKernel(tfopt.AdamW):
    """AdamW whose kernel takes clip factor and decay, too: further ops stand for it here."""

    fused_takes = frozenset({"clip_factor", "decay_rate"})
    given = []  # for each call the shape, and the names of the factors

    def fused(self, g, var, s, h, clip_factor=None, decay_rate=None):
        factors = {"clip_factor": clip_factor, "decay_rate": decay_rate}
        self.given.append((*var.shape, *(n for n, f in factors.items() if f is not None)))
        if clip_factor is not None:
            g = g * clip_factor
        if decay_rate is not None:
            var.assign_sub(decay_rate * var, read_value=False)
        return super().fused(g, var, s, h)


@pytest.mark.parametrize("clip", [(), ("clip_factor",)], ids=["", "clipped"])
def test_a_kernel_takes_decay_and_clip_factor(mode, clip):
    shapes = [LARGE, (5, 3), (4,)]  # AdamW alone would have the first two compiled by XLA
    options = {"weight_decay": 0.1, "exclude_from_weight_decay": ["bias"]}
    options |= {"clipnorm": 0.5} if clip else {}
    steps = mode.gradients(6, shapes)
    AdamOfOneKernel.given.clear()
    variables = mode.train(AdamOfOneKernel(0.1, **options), steps, shapes)
    decayed = (*clip, "decay_rate")
    expected = {(*LARGE, *decayed), (5, 3, *decayed), (4, *clip)}
    assert set(AdamOfOneKernel.given) == expected
    plain = mode.train(tfopt.AdamW(0.1, **options), steps, shapes)
    assert_close(variables, [value(v) for v in plain])
    if not clip:
        references = [
            adamw(x, g, 0.1, 0.0 if x.ndim == 1 else 0.1)
            for x, g in zip(first_values(shapes).values(), sums(steps), strict=True)
        ]
        assert_close(variables, references, 2e-5)


def test_the_table_of_an_optimizer_knows_of_the_kernel():
    variables = [tf.Variable(tf.zeros(LARGE))]
    options = {"weight_decay": 0.1, "clipnorm": 1.0}
    for cls, path in ((AdamOfOneKernel, "fused"), (tfopt.AdamW, "XLA")):
        assert tfopt.inspect.describe(cls(**options), variables)[0].path == path


# --- a path of its own ----------------------------------------------------------------------------


class Stacked(paths.Path):
    """All variables of a shape by one set of ops on their stack: for updates by element."""

    name = "stacked"
    launches = []  # of how many variables

    def takes(self, update, h):
        return update.g is not None and update.indices is None and update.clip_factor is None

    def run(self, updates, h):
        alike = {}
        for update in updates:
            x = update.x.variable
            alike.setdefault((*x.shape, x.dtype), []).append(update)
        for same in alike.values():
            self.launches.append(len(same))
            values = tf.nest.map_structure(lambda *each: tf.stack(each), *map(paths.read, same))
            x, slots = paths.compute(self.engine.optimizer, same[0], values, h)
            for i, update in enumerate(same):
                paths.write(update, x[i], {name: slot[i] for name, slot in slots.items()})


class StackedAdamW(tfopt.AdamW, paths=[Stacked]):
    pass


def test_a_path_updates_all_variables_of_a_shape_at_once(mode):
    """What decays and what does not have other scalars, so a stack each."""
    shapes, options = SHAPES * 3, {"weight_decay": 0.1, "exclude_from_weight_decay": ["bias"]}
    steps = mode.gradients(6, shapes)
    Stacked.launches.clear()
    variables = mode.train(StackedAdamW(0.1, **options), steps, shapes)
    assert set(Stacked.launches) == {1, 2, 6}  # one kernel is of bfloat16
    assert_close(variables, map(value, mode.train(tfopt.AdamW(0.1, **options), steps, shapes)))
    rows = mode.rows(6, LARGE)
    Stacked.launches.clear()
    [variable] = mode.train(StackedAdamW(0.1, **options, lazy=True), rows, [LARGE])
    assert not Stacked.launches  # what it does not take goes to the paths of all optimizers
    [other] = mode.train(tfopt.AdamW(0.1, **options, lazy=True), rows, [LARGE])
    assert_same([variable], [other])
    [row] = tfopt.inspect.describe(StackedAdamW(), [tf.Variable(tf.zeros(LARGE))])
    assert row.path == "stacked"


def test_extensions_go_together_and_are_inherited(mode):
    """A path, a policy and a codec in one class; another class has them from it."""

    class Everything(tfopt.Adam, policies=[Lookahead, EightBits], paths=[Stacked]):
        pass

    class Heir(Everything):
        pass

    steps, options = mode.gradients(4), {"sync_period": 4, "slow_step": 0.5}
    Stacked.launches.clear()
    variables = mode.train(Heir(0.1, **options), steps)
    assert set(Stacked.launches) == {1, 2}
    for variable, x, g in zip(variables, first_values(SHAPES).values(), sums(steps), strict=True):
        fast = adamw(x, g, 0.1, stored=through_codes)
        np.testing.assert_allclose(value(variable), x + 0.5 * (fast - x), 1e-4, 1e-4)


# --- rules ----------------------------------------------------------------------------------------


def named(part):
    return lambda variable: part in variable.name


def ruled(optimizer, *rules):
    """The optimizer with rules; each has an owner of its own, which is but a key."""
    for rule in rules:
        optimizer._engine.add_rule(rule)
    return optimizer


def number_of(optimizer, rule, what):
    return optimizer._engine.hypers[optimizer._engine.names_of_rules[rule, what]]


def test_all_rules_that_match_a_variable_hold_for_it(mode):
    rules = [
        Rule(named("kernel"), factors={"learning_rate": 0.1}),
        Rule(named("bias"), values={"weight_decay": 0.05}),
        Rule(lambda v: v.shape.rank == 1, factors={"learning_rate": 0.5}),
        Rule(named("bias_2"), factors={"learning_rate": 0.5, "weight_decay": 3.0}),
        Rule(named("kernel_3"), off=["weight_decay"]),
    ]
    shapes = [*SHAPES, (2, 2), LARGE]
    names = ["kernel_0", "bias_1", "bias_2", "kernel_3", "kernel_4"]
    assert list(first_values(shapes)) == names
    numbers = [(0.01, 0.1), (0.05, 0.05), (0.025, 0.15), (0.01, 0.0), (0.01, 0.1)]
    opt = ruled(tfopt.AdamW(0.1, weight_decay=0.1, master_weights=True), *rules)
    steps = mode.gradients(8, shapes)
    variables = mode.train(opt, steps, shapes)
    expected = [
        adamw(x, g, *own)
        for x, g, own in zip(first_values(shapes).values(), sums(steps), numbers, strict=True)
    ]
    variables[3] = opt.get_slot(variables[3], "master_weight")  # it is the one of bfloat16
    assert_close(variables, expected, 2e-5)


def test_a_factor_of_a_rule_changes_without_a_retrace(mode):
    rule = Rule(named("kernel"), factors={"learning_rate": 0.5})
    opt, variables = ruled(tfopt.SGD(1.0), rule), mode.start()
    steps, trainer = mode.gradients(5), mode.trainer(opt, variables)
    trainer(steps[:3])  # eager steps are traced when they come for the third time
    traces = trainer.traces
    number_of(opt, rule, "learning_rate_factor").set(0.25)
    trainer(steps[3:])
    assert trainer.traces == traces > 0
    factors = [0.5, 0.5, 0.5, 0.25, 0.25]
    expected = [
        x - sum((f if x.ndim == 2 else 1) * each for f, each in zip(factors, g, strict=True))
        for x, g in zip(first_values(SHAPES).values(), sums(steps), strict=True)
    ]
    assert_close(variables, expected, 1e-6)


def test_a_number_of_a_rule_may_be_a_schedule(mode):
    falling = tfopt.schedules.InverseTimeDecay(1.0, decay_steps=1, decay_rate=1.0)
    rule, steps = Rule(named("kernel"), values={"learning_rate": falling}), mode.gradients(4)
    variables = mode.train(ruled(tfopt.SGD(0.5), rule), steps)
    expected = [
        x - sum((1 / t if x.ndim == 2 else 0.5) * each for t, each in enumerate(g, 1))
        for x, g in zip(first_values(SHAPES).values(), sums(steps), strict=True)
    ]
    assert_close(variables, expected, 1e-6)


def test_state_advances_once_whatever_rules_there_are(mode):
    """From the group of everybody, be there a variable in it or not."""
    rules = [
        Rule(lambda v: True, factors={"learning_rate": 0.5}),
        Rule(named("bias"), factors={"beta_1": 0.5}),
    ]
    opt, steps = ruled(tfopt.Nadam(0.2), *rules), mode.gradients(6)
    variables = mode.train(opt, steps)
    plain = tfopt.Nadam(0.1)
    [kernel, *_] = mode.train(plain, steps)
    assert_close(variables[:1], [value(kernel)], 1e-6)
    caches = [value(each._engine.state.scalars["momentum_cache"]) for each in (opt, plain)]
    mu = [0.9 * (1 - 0.5 * 0.96 ** (0.004 * t)) for t in range(1, 7)]
    np.testing.assert_allclose(caches, [np.prod(mu)] * 2, 1e-5)


def test_a_deep_copy_has_the_rules_and_numbers_of_its_own():
    rule = Rule(lambda v: True, factors={"learning_rate": 0.5})
    opt = ruled(tfopt.SGD(1.0), rule)
    twin = copy.deepcopy(opt)
    number_of(twin, rule, "learning_rate_factor").set(0.25)
    for each, expected in ((opt, -0.5), (twin, -0.25)):
        variable = tf.Variable(0.0)
        each.apply_gradients([(tf.constant(1.0), variable)])
        assert variable.numpy() == expected


# --- hooks and compiled functions -----------------------------------------------------------------


class Hooked(tfopt.SGD):
    """A step of OptimizerV2's kind."""

    def resource_apply_dense(self, grad, var):
        return super().resource_apply_dense(2.0 * grad, var)


@pytest.mark.parametrize("cls", [tfopt.SGD, Hooked])
def test_a_hook_called_outside_of_a_step_says_so(cls):
    opt, variable = cls(1.0), tf.Variable([[1.0, 2.0]])
    for built in (False, True):
        if built:  # by a step, of which nothing is left
            opt.apply_gradients([(tf.ones([1, 2]), variable)])
        with pytest.raises(RuntimeError, match="`resource_apply_dense` of .* outside of a step"):
            opt.resource_apply_dense(tf.ones([1, 2]), variable)
        with pytest.raises(RuntimeError, match="`resource_apply_sparse` of .* outside of a step"):
            opt.resource_apply_sparse(tf.ones([1, 2]), variable, tf.constant([0]))
    moved = 2.0 if cls is Hooked else 1.0
    np.testing.assert_array_equal(variable, [[1.0 - moved, 2.0 - moved]])


class OwnFactor(tfopt.Optimizer, shared=True):
    """What `update` reads of the instance is no part of what the class declares."""

    learning_rate = Hyper(1.0)
    factor = 1.0

    def update(self, g, x, s, h):
        return x - self.factor * h.learning_rate * g


def test_an_attribute_of_an_instance_is_its_own(mode, shared):
    steps = mode.gradients(2, [LARGE])
    [[first]], [gradients] = [list(first_values([LARGE]).values())], sums(steps)
    for factor in (2.0, 3.0):
        opt = OwnFactor(0.5)
        opt.factor = factor
        assert_close(mode.train(opt, steps, [LARGE]), [first - factor * 0.5 * sum(gradients)])
    assert len(shared) == 0  # each has compiled a function for itself


def test_numbers_are_no_part_of_compiled_functions(mode, shared):
    steps = mode.gradients(2, [LARGE])
    [[first]], [gradients] = [list(first_values([LARGE]).values())], sums(steps)
    for rate in (0.5, 0.25):
        assert_close(mode.train(OwnFactor(rate), steps, [LARGE]), [first - rate * sum(gradients)])
    [function] = shared.values()
    assert function.experimental_get_tracing_count() == 1
