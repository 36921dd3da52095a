"""A race on a small language model: which optimizer learns most in 600 steps?

`python tests/benchmarks/char_lm.py` trains a GPT of two layers to predict the next character of
the source of Python's standard library. Each optimizer is tuned on seed 0: the best rate of three
or more that is neither the lowest nor the highest. This rate is repeated on further seeds. Two
processes of one thread each need about 15 minutes. It prints a table, and writes the losses to
char_lm.json beside it and a picture of them to docs/char_lm.svg. The table in docs/choosing.md is
copied by hand; a test compares it. `--quick` takes 20 steps at one rate, and writes nothing.
"""

import argparse
import concurrent.futures
import datetime
import hashlib
import json
import multiprocessing
import os
import platform
import sysconfig
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import tensorflow as tf

import tfopt

RESULTS = Path(__file__).with_suffix(".json")
PICTURE = Path(__file__).resolve().parents[2] / "docs" / "char_lm.svg"
CHARACTERS, VALIDATION = 1_000_000, 0.1  # how long the text is, and the part kept for validation
VOCABULARY, CONTEXT, WIDTH, HEADS, LAYERS = 128, 64, 64, 4, 2
BATCH, STEPS, WARMUP, DECAY, EVERY = 16, 600, 50, 0.3, 100
BETAS = {"beta_1": 0.9, "beta_2": 0.95}


class WarmupStableDecay(tfopt.schedules.LearningRateSchedule):
    """Rises over the first steps, and falls to 0 over the last part of them; both linearly."""

    def __init__(self, rate, steps):
        self.rate, self.steps = rate, steps

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        falling = (self.steps - step) / (DECAY * self.steps)
        return self.rate * tf.minimum(1.0, tf.minimum((step + 1) / WARMUP, falling))


def adamw(rate, steps):
    return tfopt.AdamW(WarmupStableDecay(rate, steps), 0.1, epsilon=1e-8, **BETAS)


def nadamw(rate, steps):
    return tfopt.NAdamW(WarmupStableDecay(rate, steps), 0.1, epsilon=1e-8, **BETAS)


def schedule_free_adamw(rate, steps):
    del steps  # which it need not know
    return tfopt.ScheduleFreeAdamW(rate, warmup_steps=WARMUP, weight_decay=0.1, **BETAS)


def muon(rate, steps):
    return tfopt.Muon(
        WarmupStableDecay(rate, steps),
        adam_beta_1=0.9,
        adam_beta_2=0.95,
        epsilon=1e-8,
        weight_decay=0.1,
        exclude_layers=["output"],
    )


CONTESTANTS = {
    "AdamW": (adamw, (6e-3, 1.2e-2, 2.4e-2)),
    "NAdamW": (nadamw, (6e-3, 1.2e-2, 2.4e-2)),
    "ScheduleFreeAdamW": (schedule_free_adamw, (1.2e-2, 3e-2, 6e-2)),
    "Muon": (muon, (1.2e-2, 2.4e-2, 4.8e-2)),
}


def read_text():
    """The source of the standard library, as ASCII codes: files in the order of their names."""
    text, files = b"", sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    while len(text) < CHARACTERS:
        text += files.pop(0).read_text("utf-8").encode("ascii", "ignore")
    return text[:CHARACTERS]


def make_weights(seed):
    """A GPT's weights by name, as large as PyTorch makes them; AdamW learned less from smaller."""
    random = np.random.default_rng(seed)
    shapes = {"embedding": (VOCABULARY, WIDTH), "position_embedding": (CONTEXT, WIDTH)}
    for layer in range(LAYERS):
        for name in ("query", "key", "value", "mix"):
            shapes[f"{name}_{layer}"] = (WIDTH, WIDTH)
        shapes[f"up_{layer}"] = (WIDTH, 4 * WIDTH)
        shapes[f"down_{layer}"] = (4 * WIDTH, WIDTH)
        shapes[f"gain_1_{layer}"] = shapes[f"gain_2_{layer}"] = (WIDTH,)
    shapes |= {"output": (WIDTH, VOCABULARY), "gain_last": (WIDTH,)}
    weights = {}
    for name, shape in shapes.items():
        size = 1 if "embedding" in name else (3 * shape[0]) ** -0.5
        value = size * random.standard_normal(shape, "float32")
        value = np.ones(shape, "float32") if "gain" in name else value
        weights[name] = tf.Variable(value, name=name)
    return weights


def predict(weights, characters):
    """The logits of the next character after each of `characters`, a batch of texts."""
    length = characters.shape[1]
    x = tf.gather(weights["embedding"], characters) + weights["position_embedding"][:length]
    for layer in range(LAYERS):
        x += _attend(weights, layer, _normalize(x, weights[f"gain_1_{layer}"]))
        hidden = _times(_normalize(x, weights[f"gain_2_{layer}"]), weights[f"up_{layer}"])
        x += _times(tf.nn.gelu(hidden, approximate=True), weights[f"down_{layer}"])
    return _times(_normalize(x, weights["gain_last"]), weights["output"])


def _attend(weights, layer, x):
    length, size = x.shape[1], WIDTH // HEADS
    query, key, value = (
        tf.transpose(
            tf.reshape(_times(x, weights[f"{name}_{layer}"]), [-1, length, HEADS, size]),
            [0, 2, 1, 3],
        )
        for name in ("query", "key", "value")
    )
    later = 1 - np.tri(length, dtype="float32")
    scores = tf.matmul(query, key, transpose_b=True) * size**-0.5 - 1e9 * later
    mixed = tf.transpose(tf.matmul(tf.nn.softmax(scores), value), [0, 2, 1, 3])
    return _times(tf.reshape(mixed, [-1, length, WIDTH]), weights[f"mix_{layer}"])


def _normalize(x, gain):
    x -= tf.reduce_mean(x, axis=-1, keepdims=True)
    return x * tf.math.rsqrt(tf.reduce_mean(x * x, axis=-1, keepdims=True) + 1e-5) * gain


def _times(x, matrix):
    rows, columns = matrix.shape
    product = tf.matmul(tf.reshape(x, [-1, rows]), matrix)
    return tf.reshape(product, [-1, x.shape[1], columns])


def mean_loss(weights, texts):
    """The mean cross-entropy of all characters but the first of each text, in nats."""
    logits = predict(weights, texts[:, :-1])
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(texts[:, 1:], logits)
    return tf.reduce_mean(losses)


def train(name, rate, seed, steps=STEPS):
    """The validation loss by step, in nats: of 0 steps, and so on up to all steps."""
    text = np.frombuffer(read_text(), np.uint8).astype("int32")
    training, validation = np.split(text, [round(len(text) * (1 - VALIDATION))])
    texts = validation[: len(validation) // (CONTEXT + 1) * (CONTEXT + 1)]
    texts = tf.constant(texts.reshape(-1, CONTEXT + 1))
    weights = make_weights(seed)
    optimizer = CONTESTANTS[name][0](rate, steps)
    optimizer.exclude_from_weight_decay(var_names=["gain"])

    @tf.function(jit_compile=True)
    def step(batch):
        optimizer.minimize(lambda: mean_loss(weights, batch), list(weights.values()))

    @tf.function(jit_compile=True)
    def evaluate():
        return mean_loss(weights, texts)

    def validate():
        if not isinstance(optimizer, tfopt.ScheduleFreeAdamW):
            return float(evaluate())
        with optimizer.evaluation_weights():
            return float(evaluate())

    random = np.random.default_rng(seed)
    losses = {0: float(evaluate())}
    for number in range(1, steps + 1):
        starts = random.integers(0, len(training) - CONTEXT, BATCH)
        step(tf.constant(training[starts[:, np.newaxis] + np.arange(CONTEXT + 1)]))
        if number % EVERY == 0 or number == steps:
            losses[number] = validate()
    return losses


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds the best rate takes")
    parser.add_argument("--quick", action="store_true", help="20 steps at one rate; writes nothing")
    options = parser.parse_args()
    taken = slice(1, 2) if options.quick else slice(None)
    rates = {name: rates[taken] for name, (_, rates) in CONTESTANTS.items()}
    contestants = race(rates, options.seeds, 20 if options.quick else STEPS)
    print("", *table(contestants), sep="\n")
    if not options.quick:
        RESULTS.write_text(json.dumps({**about(), "contestants": contestants}, indent=1) + "\n")
        draw(contestants, PICTURE)


def race(rates, seeds, steps):
    """The losses of all contestants: of each rate on seed 0, and of the best one on each seed."""
    spawn = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
    with concurrent.futures.ProcessPoolExecutor(2, spawn, _take_one_thread) as pool:

        def start(name, rate, seed):
            return pool.submit(train, name, rate, seed, steps)

        def losses_of(run, *what):
            losses = run.result()
            print(*what, f"{losses[steps]:.4f}", flush=True)
            return losses

        found = {name: {"curves": {}} for name in CONTESTANTS}
        while rates:
            tuning = {n: {r: start(n, r, 0) for r in untried} for n, untried in rates.items()}
            for name, runs in tuning.items():
                for rate, run in runs.items():
                    found[name]["curves"][rate] = losses_of(run, name, rate, 0)
            rates = {n: beyond(tried(f["curves"], steps)) for n, f in found.items()}
            rates = {name: untried for name, untried in rates.items() if untried}
        for f in found.values():
            f["rates"] = tried(f["curves"], steps)
            f["best"] = best(f["rates"])
            f["curves"] = [f["curves"][f["best"]]]
        again = {n: [start(n, f["best"], s) for s in range(1, seeds)] for n, f in found.items()}
        for name, runs in again.items():
            for seed, run in enumerate(runs, 1):
                found[name]["curves"].append(losses_of(run, name, found[name]["best"], seed))
            found[name]["losses"] = [curve[steps] for curve in found[name]["curves"]]
    return json.loads(json.dumps(found))  # with texts as keys, as they are when read


def tried(curves, steps):
    """The last losses by rate, in the order of the rates."""
    return {rate: float(np.nan_to_num(curves[rate][steps], nan=99)) for rate in sorted(curves)}


def best(losses):
    return min(losses, key=losses.get)


def beyond(losses):
    """The rate to try next if the best one is the lowest or the highest."""
    if len(losses) < 3:
        return []
    lowest, *_, highest = losses
    return {lowest: [lowest / 2], highest: [highest * 2]}.get(best(losses), [])


def _take_one_thread():
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def about():
    """What the results depend on."""
    text = read_text()
    return {
        "date": datetime.date.today().isoformat(),
        "versions": {
            "tfopt": tfopt.__version__,
            "tensorflow": tf.__version__,
            "numpy": np.__version__,
            "Python": platform.python_version(),
        },
        "text": {"characters": len(text), "sha256": hashlib.sha256(text).hexdigest()},
    }


def table(contestants):
    """The lines of the table in docs/choosing.md."""
    seeds = range(len(contestants["AdamW"]["losses"]))
    heads = ["optimizer", "rates tried", "best rate", *(f"seed {s}" for s in seeds), "mean"]
    rows = [heads, ["---"] * len(heads)]
    for name, found in contestants.items():
        losses = [*found["losses"], np.mean(found["losses"])]
        rates = ", ".join(f"{float(rate):g}" for rate in found["rates"])
        cells = [f"`{name}`", rates, f"{found['best']:g}", *(f"{loss:.3f}" for loss in losses)]
        rows.append(cells)
    return [f"| {' | '.join(cells)} |" for cells in rows]


def draw(contestants, path):
    """The mean loss over seeds by step."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    style = {"svg.fonttype": "none", "svg.hashsalt": "tfopt", "font.family": "sans-serif"}
    with plt.rc_context(style):
        figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
        for name, found in contestants.items():
            steps = [int(step) for step in found["curves"][0] if step != "0"]
            means = np.mean([[curve[str(s)] for s in steps] for curve in found["curves"]], axis=0)
            axes.plot(steps, means, ".-", label=f"{name}, {found['best']:g}")
        axes.set(xlabel="step", ylabel="validation loss, nats")
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


if __name__ == "__main__":
    main()
