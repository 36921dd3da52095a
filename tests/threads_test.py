"""One optimizer in several threads, which step, build, save and assign at the same time."""

import copy
import json
import os
import pickle
import sys
import threading
import time
import traceback

import numpy as np
import pytest
import tensorflow as tf

import tfopt

REPEAT = int(os.environ.get("TFOPT_REPEAT", "1"))  # rounds of the tests that are the longest
THREADS, STEPS, FEW = 8, 200, 12
DEADLINE = (
    90  # seconds, for threads to end; a deadlock must fail with the stacks of those that hang
)

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("hasty", "shared")]
rounds = pytest.mark.parametrize("round_", range(REPEAT))


@pytest.fixture
def hasty():
    """Threads that take turns as often as they can: races that are rare otherwise are not."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def at_once(*functions, saver=None):
    """Calls each function in a thread of its own, all at once; what fails or hangs fails the test.

    Args:
        *functions: of nothing.
        saver: one more, which is called over and over until the others have ended.
    """
    failures, barrier = [], threading.Barrier(len(functions) + (saver is not None))
    ended = threading.Event()

    def body(function):
        try:
            barrier.wait(DEADLINE)
            function()
        except BaseException:  # of the test's own asserts, too
            failures.append(traceback.format_exc())

    def save():
        while True:
            last = ended.is_set()
            saver()
            if last:
                return

    threads = [threading.Thread(target=body, args=(f,), daemon=True) for f in functions]
    others = [threading.Thread(target=body, args=(save,), daemon=True)] if saver else []
    end = time.monotonic() + DEADLINE
    for thread in threads + others:
        thread.start()
    for thread in threads:
        thread.join(max(0, end - time.monotonic()))
    ended.set()
    for thread in others:
        thread.join(max(0, end - time.monotonic()))
    frames = sys._current_frames()
    for thread in threads + others:
        if thread.is_alive():
            failures.append("hangs:\n" + "".join(traceback.format_stack(frames[thread.ident])))
    assert not failures, "\n".join(failures)


# --- what is stepped ------------------------------------------------------------------------------


class ByHooks(tfopt.Optimizer):
    """An optimizer by hooks, which find their step by the thread that they run in."""

    learning_rate = tfopt.Hyper(0.1, low=0)

    def create_slots(self, var_list):
        for variable in var_list:
            self.add_slot(variable, "m")
            time.sleep(0.001)
            if "bad" in variable.name:
                raise RuntimeError("a bad variable")

    def resource_apply_dense(self, grad, var):
        m = self.get_slot(var, "m")
        m.assign(0.9 * m + grad)
        var.assign_sub(self._get_hyper("learning_rate", var.dtype) * m)


class ReadsMore(tfopt.Optimizer):
    """One that reads what it does not declare: its compiled functions are its own."""

    learning_rate = tfopt.Hyper(0.1, low=0)

    def slots(self, x):
        return {"m": tfopt.zeros(x)}

    def update(self, g, x, s, h):
        s.m = self.__dict__.get("_momentum", 0.9) * s.m + g
        return x - h.learning_rate * s.m


class Slow(tfopt.SGD):
    """One whose builds take long enough for others to come in between."""

    def slots(self, x):
        time.sleep(0.002)
        if "bad" in x.name:
            raise RuntimeError("a bad variable")
        return super().slots(x)


def reads_more():
    optimizer = ReadsMore()
    optimizer._momentum = 0.8
    return optimizer


ALONE = {  # what does not depend on `iterations`
    "SGD": lambda: tfopt.SGD(0.1, momentum=0.9),
    "compiled": lambda: tfopt.SGD(0.1, momentum=0.9, jit_compile=True),
    "RMSprop": lambda: tfopt.RMSprop(0.01, momentum=0.5),
    "Adagrad": lambda: tfopt.Adagrad(0.1),
    "policies": lambda: tfopt.SGD(
        0.1,
        momentum=0.9,
        clipnorm=1.0,
        weight_decay=0.01,
        use_ema=True,
        lazy=False,  # else averages are of rows, which note the step they are of
        skip_nonfinite=True,
    ),
    "hooks": ByHooks,
    "more": reads_more,
}
COUNTED = {  # what sees the count that threads share; slots `m` and `v` do not
    "Adam": lambda: tfopt.Adam(0.01),
    "AdamW": lambda: tfopt.AdamW(0.01, weight_decay=0.01, jit_compile=True),
}
MAKE = {**ALONE, **COUNTED}


@pytest.fixture(autouse=True, scope="module")
def warm():
    """Has TensorFlow see each op once: in it a process has crashed whose threads were all first."""
    for make in MAKE.values():
        x = tf.Variable([1.0, 2.0])
        for _ in range(2):
            make().apply_gradients([(tf.constant([1.0, 1.0]), x)])


class Net:
    """Variables of one thread, with gradients for them that come again and again.

    One variable is too large for its update to be launched with others, or to run uncompiled.
    """

    def __init__(self, number, rows=False):
        rng = np.random.default_rng(number)
        shapes = {"bias": (3,), "table": (6, 4), "kernel": (80, 64)}
        self.variables = [
            tf.Variable(rng.normal(size=shape).astype("f"), name=f"net{number}/{name}")
            for name, shape in shapes.items()
        ]
        self.gradients = [[self._gradient(rng, x, rows) for x in self.variables] for _ in range(3)]

    def _gradient(self, rng, x, rows):
        if not rows or x.shape != (6, 4):
            return tf.constant(rng.normal(size=x.shape).astype("f"))
        values = tf.constant(rng.normal(size=(3, 4)).astype("f"))
        return tf.IndexedSlices(values, tf.constant([4, 0, 4]), tf.constant([6, 4]))

    def train(self, optimizer, steps, in_function=False):
        """Steps of an optimizer; in a function of the caller's own, if wanted."""

        def step(gradients):
            optimizer.apply_gradients(zip(gradients, self.variables, strict=True))

        call = tf.function(step, autograph=False) if in_function else step
        for number in range(steps):
            call(self.gradients[number % len(self.gradients)])

    def values(self, optimizer, own=True):
        """The slots in bytes and, if wanted, the variables."""
        named = {x.name: x.numpy().tobytes() for x in self.variables} if own else {}
        for name in optimizer.get_slot_names():
            for x in self.variables:
                named[x.name, name] = optimizer.get_slot(x, name).numpy().tobytes()
        return named


def nets(rows=False):
    """Variables for each thread."""
    return [Net(number, rows) for number in range(THREADS)]


def check_whole(optimizer, nets, slots):
    """All tables are whole: each slot is there once, and has a name of its own."""
    weights, variables = optimizer.weights, [x for net in nets for x in net.variables]
    assert sorted(optimizer.get_slot_names()) == sorted(slots)
    found = {id(optimizer.get_slot(x, name)) for x in variables for name in slots}
    scalars = [weight for weight in weights if id(weight) not in found]
    assert len(found) == len(slots) * len(variables) == len(weights) - len(scalars)
    assert len(scalars) == 1 + optimizer.skip_nonfinite and not any(s.shape.rank for s in scalars)
    assert len({id(weight) for weight in weights}) == len(weights)
    assert len({weight.name for weight in weights}) == len(weights)
    assert len(optimizer.get_weights()) == len(weights)
    for value in [*optimizer.get_weights(), *(x.numpy() for x in variables)]:
        assert np.all(np.isfinite(value))


def check_as_alone(optimizer, made, make, steps, own=True, rows=False):
    """Variables and slots have the bits of an optimizer for each net, used in this thread."""
    for number, net in enumerate(made):
        alone, same = make(), Net(number, rows)
        same.train(alone, steps)
        assert net.values(optimizer, own) == same.values(alone, own), f"net {number}"


# --- what is saved meanwhile ----------------------------------------------------------------------


class Saver:
    """Saves an optimizer in all ways; later loads all that it has saved."""

    KEPT = 12  # of each way: more would take long to load, and are not more different

    def __init__(self, optimizer, make, nets, slots, folder):
        self.optimizer, self.make, self.slots = optimizer, make, slots
        self.folder, self.nets = folder, nets
        self.pickles, self.lists, self.stores, self.configs, self.files = [], [], [], [], []
        self.written = 0
        variables = [x for net in nets for x in net.variables]
        self.checkpoint = tf.train.Checkpoint(optimizer=optimizer, variables=variables)

    def __call__(self):
        store = {}
        self.optimizer.save_own_variables(store)
        saved = {
            "pickles": pickle.dumps(self.optimizer),
            "lists": self.optimizer.get_weights(),
            "stores": store,
            "configs": self.optimizer.get_config(),
        }
        # TensorFlow goes twice through the scalars of an optimizer, and fails if there are more of
        # them the second time: that is so during the first build. More slots do it no harm.
        if self.optimizer.built:
            self.written += 1
            saved["files"] = self.checkpoint.write(str(self.folder / f"{self.written}"))
        for name, one in saved.items():
            kept = getattr(self, name)
            kept.append(one)
            if len(kept) > self.KEPT:
                del kept[len(kept) // 2]  # the first ones and the last ones are the interesting

    def check(self):
        for one in self.pickles:
            loaded = pickle.loads(one)
            count = int(loaded.iterations)
            self._build(loaded, loaded)
            assert int(loaded.iterations) == count
        for store in self.stores:
            loaded = self.make()
            loaded.load_own_variables(store)
            self._build(loaded, loaded)
        for values in self.lists:
            block = len(self.slots) * 3
            assert len(values) % block == 1
            built = self.make()
            for number in range(len(values) // block):
                built.build(Net(number).variables)
            built.set_weights(values)
            self._check(built)
        for config in self.configs:
            assert self.make().from_config(config).get_config() == config
        for file in self.files:
            made = nets()
            built, variables = self.make(), [x for net in made for x in net.variables]
            built.build(variables)
            checkpoint = tf.train.Checkpoint(optimizer=built, variables=variables)
            checkpoint.restore(file).expect_partial()
            self._check(built)

    def _build(self, loaded, saved):
        """Builds an optimizer on variables like those that were saved: on all, or on none."""
        store = {}
        saved.save_own_variables(store)
        blocks = json.loads(store["layout"].tobytes().decode())["slots"]
        names = [sorted({path.partition("/")[0] for path, _ in block}) for block in blocks]
        for name in [name for block in names for name in block]:
            loaded.build(Net(int(name.removeprefix("net"))).variables)
        assert len(loaded.weights) == 1 + sum(map(len, blocks))
        self._check(loaded)

    def _check(self, loaded):
        for weight, value in zip(loaded.weights, loaded.get_weights(), strict=True):
            assert weight.shape == value.shape and np.all(np.isfinite(value))
        again = pickle.loads(pickle.dumps(loaded)).get_weights()
        assert len(again) == len(loaded.weights)


# --- variables of each thread's own ---------------------------------------------------------------


@rounds
@pytest.mark.parametrize("name", ["SGD", "compiled", "Adam"])
def test_threads_that_step_one_optimizer_have_the_bits_of_optimizers_alone_while_one_saves(
    name, round_, tmp_path
):
    optimizer, made = MAKE[name](), nets()
    slots = ["m", "v"] if name in COUNTED else ["momentum"]
    saver = Saver(optimizer, MAKE[name], made, slots, tmp_path)
    at_once(*(lambda n=n: n.train(optimizer, STEPS) for n in made), saver=saver)
    assert int(optimizer.iterations) == THREADS * STEPS
    check_whole(optimizer, made, slots)
    check_as_alone(optimizer, made, MAKE[name], STEPS, own=name in ALONE)
    saver.check()


@pytest.mark.parametrize("how", ["at first", "built", "in functions"])
@pytest.mark.parametrize("name", MAKE)
def test_each_thread_has_the_bits_of_an_optimizer_alone(name, how):
    optimizer, made = MAKE[name](), nets()
    for net in made if how == "built" else ():
        optimizer.build(net.variables)
    at_once(*(lambda n=n: n.train(optimizer, FEW, how == "in functions") for n in made))
    assert int(optimizer.iterations) == THREADS * FEW
    check_whole(optimizer, made, optimizer.get_slot_names())
    check_as_alone(optimizer, made[:2], MAKE[name], FEW, own=name in ALONE)


@pytest.mark.parametrize("in_functions", [False, True])
@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adagrad", "Adam"])
def test_gradients_of_rows_do_too(name, in_functions):
    optimizer, made = MAKE[name](), nets(rows=True)
    at_once(*(lambda n=n: n.train(optimizer, FEW, in_functions) for n in made))
    assert int(optimizer.iterations) == THREADS * FEW
    check_as_alone(optimizer, made[:2], MAKE[name], FEW, own=name in ALONE, rows=True)


def test_windows_of_accumulation_are_of_each_thread_alone():
    def make():
        return tfopt.SGD(0.1, momentum=0.9, gradient_accumulation_steps=2)

    optimizer, made = make(), nets()
    at_once(*(lambda n=n: n.train(optimizer, 20) for n in made))
    assert int(optimizer.iterations) == THREADS * 10
    for number, net in enumerate(made):
        alone, same = make(), Net(number)
        same.train(alone, 20)
        for x, y in zip(net.variables, same.variables, strict=True):
            np.testing.assert_array_equal(x, y)
            slots = optimizer.get_slot(x, "momentum"), alone.get_slot(y, "momentum")
            np.testing.assert_array_equal(*slots)


def test_threads_may_make_their_variables_in_the_functions_that_update_them():
    def make():
        return tfopt.SGD(0.1, use_ema=True, ema_momentum=0.5, lazy=False)

    optimizer, found = make(), {}

    def train(number):
        @tf.function(autograph=False)
        def step(gradient):
            if number not in found:
                found[number] = tf.Variable([1.0, float(number)])
            optimizer.apply_gradients([(gradient, found[number])])

        for _ in range(FEW):
            step(tf.constant([1.0, 0.0]))

    at_once(*(lambda n=n: train(n) for n in range(THREADS)))
    assert int(optimizer.iterations) == THREADS * FEW
    alone, x = make(), tf.Variable([1.0, 0.0])
    for _ in range(FEW):
        alone.apply_gradients([(tf.constant([1.0, 0.0]), x)])
    expected = alone.get_slot(x, "ema_average").numpy()
    for number, variable in found.items():
        average = optimizer.get_slot(variable, "ema_average").numpy()
        np.testing.assert_allclose(average, expected + [0, number], rtol=1e-6, atol=1e-6)


# --- variables that threads share -----------------------------------------------------------------


@rounds
@pytest.mark.parametrize("name", ["SGD", "compiled", "Adam"])
def test_threads_may_share_variables_while_one_saves(name, round_, tmp_path):
    optimizer, made = MAKE[name](), nets()
    slots = ["m", "v"] if name in COUNTED else ["momentum"]
    saver = Saver(optimizer, MAKE[name], made[:1], slots, tmp_path)
    at_once(*[lambda: made[0].train(optimizer, STEPS)] * THREADS, saver=saver)
    assert int(optimizer.iterations) == THREADS * STEPS
    check_whole(optimizer, made[:1], slots)
    saver.check()


@pytest.mark.parametrize("name", ["RMSprop", "policies", "hooks", "AdamW"])
def test_sets_of_variables_that_overlap_are_built_once(name):
    optimizer, made = MAKE[name](), nets()

    def train(number):
        for net in (made[number % 2], made[(number + 1) % 2]):
            net.train(optimizer, FEW, in_function=number % 4 > 1)

    at_once(*(lambda n=n: train(n) for n in range(THREADS)))
    assert int(optimizer.iterations) == THREADS * 2 * FEW
    check_whole(optimizer, made[:2], optimizer.get_slot_names())


# --- hyperparameters ------------------------------------------------------------------------------


@pytest.mark.parametrize("in_functions", [False, True])
def test_a_number_may_be_assigned_while_others_step(in_functions):
    optimizer, made = tfopt.SGD(0.1, momentum=0.9), nets()

    def assign():
        optimizer.learning_rate = 0.01
        optimizer.learning_rate = 0.02

    at_once(*(lambda n=n: n.train(optimizer, FEW, in_functions) for n in made), saver=assign)
    assert int(optimizer.iterations) == THREADS * FEW
    assert float(optimizer.learning_rate) == np.float32(0.02)
    check_whole(optimizer, made, ["momentum"])


def test_numbers_schedules_and_functions_may_take_turns_while_others_step():
    optimizer, made = tfopt.SGD(0.1, momentum=0.9), nets()

    def assign():
        optimizer.learning_rate = tfopt.schedules.ExponentialDecay(0.1, 10, 0.5)
        optimizer.learning_rate = 0.01
        optimizer.learning_rate = lambda: 0.02
        optimizer.learning_rate = 0.03

    def read():
        for _ in range(500):
            assert float(optimizer.learning_rate) < 0.2
            optimizer.get_config()

    at_once(read, *(lambda n=n: n.train(optimizer, FEW) for n in made), saver=assign)
    assert int(optimizer.iterations) == THREADS * FEW
    assert float(optimizer.learning_rate) == np.float32(0.03)
    check_whole(optimizer, made, ["momentum"])


def test_a_number_that_is_assigned_during_the_first_build_counts():
    for _ in range(20):
        optimizer = tfopt.SGD(0.1, momentum=0.9)

        def assign(optimizer=optimizer):
            for number in range(1, 6):
                optimizer.learning_rate = number / 8

        x = tf.Variable(1.0)
        at_once(lambda o=optimizer, x=x: o.build([x]), assign)
        assert float(optimizer.learning_rate) == optimizer.get_config()["learning_rate"] == 5 / 8


# --- builds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda: Slow(0.1, momentum=0.9), ByHooks])
def test_builds_at_the_same_time_are_one_after_the_other(make):
    optimizer, made = make(), nets()
    at_once(*(lambda n=n: optimizer.build(n.variables) for n in made))
    check_whole(optimizer, made, optimizer.get_slot_names())
    blocks = {weight.name.partition("/")[0]: None for weight in optimizer.weights[1:]}
    assert [w.name.partition("/")[0] for w in optimizer.weights[1:]] == [
        name for name in blocks for _ in range(3)
    ]


@pytest.mark.parametrize("make", [lambda: Slow(0.1, momentum=0.9), ByHooks])
def test_a_build_that_fails_leaves_nothing_and_disturbs_nobody(make):
    optimizer, made = make(), nets()

    def fail():
        bad = [tf.Variable([1.0], name="good"), tf.Variable([1.0], name="bad")]
        with pytest.raises(RuntimeError, match="a bad variable"):
            optimizer.build(bad)
        with pytest.raises(RuntimeError, match="a bad variable"):
            optimizer.apply_gradients([(tf.constant([1.0]), x) for x in bad])
        with pytest.raises(ValueError, match="floating-point"):
            optimizer.apply_gradients([(tf.constant([1]), tf.Variable([1]))])

    at_once(*(lambda n=n: n.train(optimizer, FEW) for n in made), saver=fail)
    assert int(optimizer.iterations) == THREADS * FEW
    check_whole(optimizer, made, optimizer.get_slot_names())
    check_as_alone(optimizer, made, make, FEW)
    good = tf.Variable([1.0], name="good")
    optimizer.build([good])
    slot = optimizer.get_slot(good, optimizer.get_slot_names()[0])
    assert slot.path == f"good/{optimizer.get_slot_names()[0]}"  # the name is free again


def test_a_checkpoint_may_be_made_of_an_optimizer_that_is_first_used(tmp_path):
    for _ in range(20):
        optimizer, x = tfopt.SGD(0.1, momentum=0.9), tf.Variable([1.0, 2.0])
        at_once(
            lambda o=optimizer: tf.train.Checkpoint(optimizer=o),
            lambda o=optimizer, x=x: o.apply_gradients([(tf.constant([1.0, 1.0]), x)]),
            lambda o=optimizer: setattr(o, "learning_rate", 0.5),
        )
        assert int(optimizer.iterations) == 1
    checkpoint = tf.train.Checkpoint(optimizer=optimizer, x=x)
    checkpoint.read(checkpoint.write(str(tmp_path / "all"))).assert_consumed()


def test_two_optimizers_compile_the_same_shapes_at_the_same_time(shared):
    make, made = MAKE["compiled"], nets()[:2]
    optimizers = [make(), make()]
    at_once(*(lambda o=o, n=n: n.train(o, FEW) for o, n in zip(optimizers, made, strict=True)))
    compiled = len(shared)
    assert compiled
    for optimizer, net, number in zip(optimizers, made, (0, 1), strict=True):
        alone, same = make(), Net(number)
        same.train(alone, FEW)
        assert net.values(optimizer) == same.values(alone)
    assert len(shared) == compiled


# --- state that waits -----------------------------------------------------------------------------


def trained(make):
    """An optimizer with a block of slots for each net, and the nets."""
    optimizer, made = make(), nets()
    for net in made:
        net.train(optimizer, 2)
    return optimizer, made


def check_saved(expected, *optimizers):
    """Lists of weights have the same arrays, in whatever order their blocks are."""
    for optimizer in optimizers:
        values = optimizer if isinstance(optimizer, list) else optimizer.get_weights()
        assert sorted(v.tobytes() for v in values) == sorted(v.tobytes() for v in expected)


def test_what_is_saved_while_loaded_state_finds_its_variables_is_whole():
    optimizer, _ = trained(lambda: Slow(0.1, momentum=0.9))
    expected, dumped = optimizer.get_weights(), pickle.dumps(optimizer)
    for _ in range(3):
        loaded, again, saved = pickle.loads(dumped), nets(), []

        def save(loaded=loaded, saved=saved):
            store, other = {}, Slow(0.1, momentum=0.9)
            loaded.save_own_variables(store)
            other.load_own_variables(store)
            saved.extend([pickle.loads(pickle.dumps(loaded)), other])

        at_once(*(lambda n=n, o=loaded: o.build(n.variables) for n in again), saver=save)
        check_saved(expected, loaded, *saved)


def test_a_copy_of_what_still_waits_in_part_holds_that_too():
    optimizer, _ = trained(MAKE["SGD"])
    loaded = pickle.loads(pickle.dumps(optimizer))
    loaded.build(Net(0).variables)
    check_saved(optimizer.get_weights(), pickle.loads(pickle.dumps(copy.deepcopy(loaded))))


def test_a_list_of_weights_is_not_lost_by_a_save_while_it_finds_its_variables():
    optimizer = Slow(0.1, momentum=0.9)
    made = Net(0)
    made.train(optimizer, 2)
    expected = optimizer.get_weights()
    for _ in range(10):
        loaded, again, saved = Slow(0.1, momentum=0.9), Net(0), []
        loaded.set_weights(expected)

        def save(loaded=loaded, saved=saved):
            store, other = {}, Slow(0.1, momentum=0.9)
            loaded.save_own_variables(store)
            other.load_own_variables(store)
            saved.extend([loaded.get_weights(), pickle.loads(pickle.dumps(loaded)), other])

        at_once(lambda o=loaded, n=again: o.build(n.variables), saver=save)
        check_saved(expected, loaded, *saved)


@pytest.mark.parametrize("first", ["built", "iterations", "weights", "values", "pickle", "slot"])
def test_a_deep_copy_is_whole_for_all_threads_that_use_it_first(first):
    optimizer, made = trained(lambda: Slow(0.1, momentum=0.9))
    expected, count = optimizer.get_weights(), int(optimizer.iterations)
    x = made[0].variables[0]
    for _ in range(3):
        twin = copy.deepcopy(optimizer)
        uses = {
            "built": lambda o=twin: o.built or pytest.fail("not built"),
            "iterations": lambda o=twin: int(o.iterations) == count or pytest.fail("no count"),
            "weights": lambda o=twin: len(o.weights) == len(expected) or pytest.fail("too few"),
            "values": lambda o=twin: check_saved(expected, o),
            "pickle": lambda o=twin: check_saved(expected, pickle.loads(pickle.dumps(o))),
            "slot": lambda o=twin: o.get_slot(x, "momentum"),
        }
        at_once(*[uses[first]] * 4)
        check_saved(expected, twin)
        assert twin.get_slot(x, "momentum") is not optimizer.get_slot(x, "momentum")


def test_deep_copies_are_stepped_first_in_several_threads_at_once():
    optimizer, made = trained(lambda: Slow(0.1, momentum=0.9))
    twin, again = copy.deepcopy((optimizer, made))
    at_once(*(lambda n=n: n.train(twin, FEW) for n in again))
    assert int(twin.iterations) == int(optimizer.iterations) + THREADS * FEW
    check_whole(twin, again, ["momentum"])
    for net, other in zip(made, again, strict=True):
        net.train(optimizer, FEW)
        assert net.values(optimizer) == other.values(twin)
