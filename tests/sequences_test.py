"""One optimizer through random sequences of what users do, beside a twin that only trains.

The twin is never saved, loaded, copied or interrupted: values must be equal, bit for bit. A class
in plain Python keeps the books: which variables were seen together, steps, windows, rates.
`TFOPT_SEQUENCES=5000 python -m pytest tests/sequences_test.py` runs as many sequences.
"""

import copy
import os
import pickle
import tempfile
import threading

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from training import ALL, assert_same, slots_of

import tfopt

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*holds functions"),
    pytest.mark.filterwarnings("ignore:No gradients"),
]
SEQUENCES = int(os.environ.get("TFOPT_SEQUENCES", 200 if ALL else 30))
SHAPES = [(3,), (2, 2), (), (4, 2)]
OPTIMIZERS = {
    "SGD": lambda rate, **options: tfopt.SGD(rate, momentum=0.5, **options),
    "Adam": lambda rate, **options: tfopt.Adam(rate, **options),
    "Nadam": lambda rate, **options: tfopt.Nadam(rate, **options),
    "AdamW": lambda rate, **options: tfopt.AdamW(rate, clipnorm=1.0, **options),
}
OPTIONS = [
    {},
    {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 3},
    {"gradient_accumulation_steps": 2},
    {"gradient_accumulation_steps": 3, "use_ema": True, "skip_nonfinite": True},
]
rates = strategies.sampled_from([0.5, 0.25, 0.125, 0.1])
subsets = strategies.sets(strategies.integers(0, len(SHAPES) - 1), min_size=1)
WAYS = ("store", "list", "checkpoint", "pickle", "deepcopy", "store into slots")


def unchanged(pairs):
    return pairs


class Books:
    """What an optimizer must count, in plain Python."""

    def __init__(self, rate, window):
        self.rate, self.window = rate, window
        self.steps = 0
        self.blocks = []  # sets of variables that were first seen together
        self.open = []  # how many calls of the window of each block there were

    @property
    def seen(self):
        return [number for block in self.blocks for number in block]

    def build(self, numbers):
        new = [number for number in sorted(numbers) if number not in self.seen]
        if new:
            self.blocks.append(new)
            self.open.append(0)

    def call(self, numbers):
        self.build(numbers)
        block = next(i for i, b in enumerate(self.blocks) if set(b) & set(numbers))
        self.open[block] += 1
        if self.open[block] == self.window:
            self.steps, self.open[block] = self.steps + 1, 0

    def flush(self):
        self.steps += sum(count > 0 for count in self.open)
        self.open = [0] * len(self.open)


class Sequences(RuleBasedStateMachine):
    @initialize(
        name=strategies.sampled_from(sorted(OPTIMIZERS)),
        options=strategies.sampled_from(OPTIONS),
        rate=rates,
    )
    def begin(self, name, options, rate):
        self.name, self.options, self.calls = name, options, 0
        self.in_order = True
        self.books = Books(rate, options.get("gradient_accumulation_steps", 1))
        self.folder = tempfile.TemporaryDirectory()  # restores are deferred, and read it later
        self.sides = []
        for _ in range(2):
            variables = [tf.Variable(tf.ones(s) / 2, name=f"v{i}") for i, s in enumerate(SHAPES)]
            self.sides.append([self.make(rate), variables])

    def teardown(self):
        if hasattr(self, "sides"):
            self.folder.cleanup()

    def make(self, rate):
        """An optimizer that steps op by op, since it has a function of the user's: no traces."""
        plain = {"jit_compile": False, "gradient_transformers": [unchanged]}
        return OPTIMIZERS[self.name](rate, **plain, **self.options)

    # --- what both do -----------------------------------------------------------------------------

    @rule(numbers=subsets)
    def build(self, numbers):
        for optimizer, variables in self.sides:
            optimizer.build([variables[n] for n in sorted(numbers)])
        self.books.build(numbers)

    @rule(numbers=subsets, without=strategies.integers(0, 9), thread=strategies.booleans())
    def step(self, numbers, without, thread):
        """A step of any variables; of these one may have no gradient; perhaps in a thread."""
        self.calls += 1
        numbers = sorted(numbers)
        given = [n for n in numbers if n != without] or numbers
        grads = {n: tf.random.stateless_normal(SHAPES[n], (self.calls, n)) for n in given}

        def apply(optimizer, variables):
            pairs = [(grads.get(n), variables[n]) for n in numbers]
            optimizer.apply_gradients(pairs)

        for number, side in enumerate(self.sides):
            if thread and number == 0:
                other = threading.Thread(target=apply, args=side)
                other.start()
                other.join()
            else:
                apply(*side)
        self.books.call(given)

    @rule(rate=rates)
    def set_rate(self, rate):
        for optimizer, _ in self.sides:
            optimizer.learning_rate = rate
        self.books.rate = rate

    @precondition(lambda self: self.books.window > 1)
    @rule()
    def flush(self):
        for optimizer, _ in self.sides:
            optimizer.flush()
        self.books.flush()

    # --- what only one does -----------------------------------------------------------------------

    @rule(way=strategies.sampled_from(WAYS), build=strategies.booleans())
    def go_on_from(self, way, build):
        """Puts another optimizer in the place of one, with its state."""
        optimizer, variables = self.sides[0]
        twin = self.make(self.books.rate)
        if way == "list" and not self.in_order:  # a list is of blocks in the order of the books
            way = "pickle"
        blocks = [[variables[n] for n in block] for block in self.books.blocks]
        if way in ("list", "store into slots"):
            for block in blocks:
                twin.build(block)
        if way.startswith("store"):
            store = {}
            optimizer.save_own_variables(store)
            twin.load_own_variables(store)
        elif way == "list":
            for block in blocks:  # what a checkpoint brought has its order from then on
                optimizer.build(block)
            twin.set_weights(optimizer.get_weights())
        elif way == "checkpoint":
            path = tf.train.Checkpoint(o=optimizer, v=variables).save(f"{self.folder.name}/all")
            tf.train.Checkpoint(o=twin, v=variables).restore(path)
        elif way == "pickle":
            twin = pickle.loads(pickle.dumps(optimizer))
            twin.gradient_transformers = [unchanged]
        else:
            twin = copy.deepcopy(optimizer)
        knows_its_variables = way in ("checkpoint", "deepcopy")
        build = build or not knows_its_variables or self.books.window > 1  # a window is of a block
        self.in_order = build or way == "deepcopy" and self.in_order
        if build:
            for block in blocks:
                twin.build(block)
        self.sides[0][0] = twin

    # --- what must hold ---------------------------------------------------------------------------

    def check(self):
        if not hasattr(self, "sides"):
            return
        (one, variables), (twin, others) = self.sides
        assert_same(variables, others)
        assert one.iterations.numpy() == twin.iterations.numpy() == self.books.steps
        assert one.get_config()["learning_rate"] == self.books.rate
        assert twin.get_config()["learning_rate"] == self.books.rate
        for number, (variable, other) in enumerate(zip(variables, others, strict=True)):
            ours, theirs = slots_of(one, variable), slots_of(twin, other)
            assert bool(theirs) == (number in self.books.seen)
            for name in ours:  # where it waits, it has no slots yet
                if name != "micro_steps":
                    assert_same(ours[name], theirs[name], message=name)

    @rule()
    def look(self):
        self.check()


SETTINGS = hypothesis.settings(
    max_examples=SEQUENCES,
    stateful_step_count=14,
    deadline=None,
    derandomize="TFOPT_SEQUENCES" not in os.environ,
    suppress_health_check=list(hypothesis.HealthCheck),
    phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink][: 1 + ("SHRINK" in os.environ)],
)


@pytest.mark.timeout(30 + 2 * SEQUENCES)
def test_whatever_is_saved_copied_and_loaded_in_between_training_is_the_same():
    class Checked(Sequences):
        def teardown(self):
            try:
                self.check()
            finally:
                super().teardown()

    hypothesis.stateful.run_state_machine_as_test(Checked, settings=SETTINGS)


def test_a_difference_is_noticed():
    class Broken(Sequences):
        def teardown(self):
            try:
                self.sides[0][1][0].assign_add(np.full(3, 1e-6))
                self.check()
            finally:
                super().teardown()

    few = hypothesis.settings(SETTINGS, max_examples=2, phases=[hypothesis.Phase.generate])
    with pytest.raises(AssertionError):
        hypothesis.stateful.run_state_machine_as_test(Broken, settings=few)
