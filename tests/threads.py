"""One optimizer in several threads: how they run at once, what they step, how it is checked."""

import functools
import json
import pickle
import sys
import threading
import time
import traceback

import numpy as np
import tensorflow as tf
from training import ALL

import tfopt

THREADS, STEPS, FEW = 8, 200 if ALL else 50, 12
DEADLINE = 90  # seconds, for threads to end; a deadlock must fail with the stacks of what hangs


def at_once(*functions, saver=None):
    """Calls each function in a thread of its own, all at once; what fails or hangs fails the test.

    Threads take turns as often as they can: races that are rare otherwise are not.

    Args:
        *functions: of nothing.
        saver: one more, which is called over and over until the others have ended.
    """
    warm_up()
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
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads + others:
            thread.start()
        for thread in threads:
            thread.join(max(0, end - time.monotonic()))
        ended.set()
        for thread in others:
            thread.join(max(0, end - time.monotonic()))
    finally:
        sys.setswitchinterval(interval)
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


@functools.cache
def warm_up():
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
