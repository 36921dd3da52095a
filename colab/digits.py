"""Trains a small convnet on 1,797 handwritten digits with tfopt.Adam, and again with Keras' Adam.

Both runs start from the same weights and see the same batches. The model that tfopt trained is then
saved, loaded in a new process, and trained on from there. `make demo` runs this in half a minute.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # without a GPU, TensorFlow logs errors about it

import keras
import matplotlib
from rich.console import Console
from rich.panel import Panel
from rich.progress import Progress, TextColumn
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import tfopt

BATCH_SIZE = 64
RESUMED_EPOCHS = 3
REQUIRED_ACCURACY = 0.97

console = Console()


def load_data(seed):
    """Returns (training images, labels) and (test images, labels), pixels scaled to [0, 1]."""
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32").reshape(-1, 8, 8, 1)
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.25, stratify=y, random_state=seed)
    return (x, y), (x_test, y_test)


def build_model(optimizer):
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(64, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Dropout(0.25),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(10),
        ]
    )
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    return model


class LiveProgress(keras.callbacks.Callback):
    """Moves a progress bar, and notes how many milliseconds each training step takes."""

    def __init__(self, bar, label):
        super().__init__()
        self.bar, self.label, self.milliseconds = bar, label, []

    def on_train_begin(self, logs=None):
        steps = self.params["epochs"] * self.params["steps"]
        self.task = self.bar.add_task(f"{self.label:22}", total=steps, loss=float("nan"))

    def on_train_batch_begin(self, batch, logs=None):
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.milliseconds.append(1000 * (time.perf_counter() - self.start))
        self.bar.update(self.task, advance=1, loss=logs["loss"])


def train(model, data, epochs, label):
    """Trains, and returns the losses of each epoch and the median milliseconds of a step."""
    columns = (*Progress.get_default_columns(), TextColumn("loss {task.fields[loss]:.4f}"))
    with Progress(*columns, console=console) as bar:
        progress = LiveProgress(bar, label)
        history = model.fit(*data[0], batch_size=BATCH_SIZE, epochs=epochs, validation_data=data[1],
                            verbose=0, callbacks=[progress])  # fmt: skip
    return history.history, statistics.median(progress.milliseconds[1:])  # the first one compiles


def plot(curves, path):
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for run, (label, losses) in enumerate(curves.items()):
        # The first curve is thin and on top, so that both can be seen where they coincide.
        look = dict(color=f"C{run}", linewidth=1.5 + 3 * run, alpha=1 - 0.6 * run, zorder=3 - run)
        epochs = range(1, len(losses["loss"]) + 1)
        axes.plot(epochs, losses["loss"], "-", label=f"{label}, training", **look)
        axes.plot(epochs, losses["val_loss"], "--", label=f"{label}, test", **look)
    axes.set(title="Handwritten digits", xlabel="epoch", ylabel="cross-entropy", yscale="log")
    axes.legend()
    figure.savefig(path, dpi=150)
    console.print(f"Loss curves: {path}")


def require(condition, message):
    """Ends with a loud message and exit status 1 unless `condition` holds."""
    if not condition:
        console.print(Panel(f"DEMO FAILED: {message}", style="bold red"))
        sys.exit(1)


def compare(args):
    """Trains the same model with both optimizers, and returns the one that tfopt trained."""
    data = load_data(args.seed)
    table = Table("optimizer", "test accuracy", "test loss", "ms a step (median)")
    models, curves, accuracies = [], {}, []
    for label, optimizer in {
        "tfopt.Adam": tfopt.Adam(1e-3),
        "keras.optimizers.Adam": keras.optimizers.Adam(1e-3),
    }.items():
        keras.utils.set_random_seed(args.seed)  # initial weights, dropout, order of the batches
        models.append(build_model(optimizer))
        curves[label], milliseconds = train(models[-1], data, args.epochs, label)
        loss, accuracy = models[-1].evaluate(*data[1], verbose=0)
        table.add_row(label, f"{accuracy:.4f}", f"{loss:.4f}", f"{milliseconds:.2f}")
        accuracies.append(accuracy)
    console.print(table)
    plot(curves, args.out)
    require(accuracies[0] >= REQUIRED_ACCURACY, f"tfopt.Adam reached only {accuracies[0]:.4f}")
    return models[0]


def resume(args):
    """Loads the saved model, `import tfopt` being all that this takes, and trains on."""
    keras.utils.set_random_seed(args.seed)
    data = load_data(args.seed)
    model = keras.models.load_model(args.resume)
    require(isinstance(model.optimizer, tfopt.Adam), f"the optimizer is a {type(model.optimizer)}")
    before = int(model.optimizer.iterations)
    require(before == args.iterations, f"saved at iteration {args.iterations}, loaded at {before}")
    train(model, data, RESUMED_EPOCHS, "resumed, new process")
    after = int(model.optimizer.iterations)
    steps = RESUMED_EPOCHS * -(-len(data[0][0]) // BATCH_SIZE)
    require(after == before + steps, f"{steps} steps led from iteration {before} to {after}")
    accuracy = model.evaluate(*data[1], verbose=0)[1]
    console.print(f"Iterations went on from {before} to {after}; test accuracy {accuracy:.4f}")
    require(accuracy >= REQUIRED_ACCURACY, f"after resuming, accuracy is only {accuracy:.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("demo.png"), help="where the plot goes")
    parser.add_argument("--resume", type=Path, help="a saved model to load and train on")
    parser.add_argument("--iterations", type=int, help="with --resume: the step it was saved at")
    args = parser.parse_args()
    if args.resume:
        return resume(args)
    model = compare(args)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "digits.keras")
        model.save(path)
        options = dict(resume=path, iterations=int(model.optimizer.iterations), seed=args.seed)
        arguments = [f"--{name}={value}" for name, value in options.items()]
        status = subprocess.run([sys.executable, __file__, *arguments]).returncode
    require(status == 0, "the saved model could not be trained on in a new process")


if __name__ == "__main__":
    main()
