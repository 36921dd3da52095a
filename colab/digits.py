"""This demo trains a small convolutional network on 1,797 handwritten digits.

1. It trains with tfopt.Adam, and records how far each step moves each layer.
2. It trains the same network with Keras' Adam: the loss should fall alike.
3. It saves the model of tfopt, and trains it on in a new process.
4. It draws all of this in one picture.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tfopt_command.log_lines import without_log_lines

os.environ.setdefault("KERAS_BACKEND", "tensorflow")


def at_least_1(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1; got {number}")
    return number


def parsed_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=at_least_1, default=20, help="default: 20")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--out", type=Path, default=Path("demo.png"), help="default: demo.png")
    for name, kind in {
        "resume": Path,
        "iterations": int,
        "accuracy": float,
        "results": Path,
    }.items():
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)  # of the new process
    return parser.parse_args()


if __name__ == "__main__":  # before the imports below, which take seconds
    ARGUMENTS = parsed_arguments()
    if not ARGUMENTS.resume:
        print(__doc__, flush=True)


with without_log_lines():
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
RESUMED_EPOCHS = 5
EVERY = 2  # steps, of which one is recorded
# How much lower than Keras' the accuracy may be, or than before it was saved: 13 of 450 digits.
# Equal formulas differ in the last bit of a float32, which grows while a network trains.
TOLERANCE = 0.03

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
            keras.layers.Conv2D(32, 3, padding="same", activation="relu", name="conv_1"),
            keras.layers.Conv2D(64, 3, padding="same", activation="relu", name="conv_2"),
            keras.layers.MaxPooling2D(),
            keras.layers.Dropout(0.25),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu", name="hidden"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(10, name="digits"),
        ],
        name="model",
    )
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    return model


class LiveProgress(keras.callbacks.Callback):
    """Moves a progress bar, and keeps the figures of steps if they are recorded."""

    def __init__(self, bar, label, recorder=None):
        super().__init__()
        self.bar, self.label, self.recorder, self.figures = bar, label, recorder, []

    def on_train_begin(self, logs=None):
        steps = self.params["epochs"] * self.params["steps"]
        self.task = self.bar.add_task(f"{self.label:22}", total=steps, loss=float("nan"))

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update(self.task, advance=1, loss=logs["loss"])
        if self.recorder is not None:
            self.figures.append(self.recorder.watch.figures)


def train(model, data, epochs, label, records=False):
    """Trains; returns the losses of each epoch, and the figures after each step, if it records."""
    recorders = []
    if records:  # without a folder, the callback only records
        recorders = [tfopt.inspect.TensorBoard(None, every=EVERY, per_variable=True)]
    columns = (*Progress.get_default_columns(), TextColumn("loss {task.fields[loss]:.4f}"))
    with Progress(*columns, console=console) as bar:
        progress = LiveProgress(bar, label, *recorders)
        history = model.fit(*data[0], batch_size=BATCH_SIZE, epochs=epochs, validation_data=data[1],
                            verbose=0, callbacks=[*recorders, progress])  # fmt: skip
    for line in (line for recorder in recorders for line in recorder.watch.health()):
        console.print(f"[yellow]{line}")
    return history.history, progress.figures


def require(condition, message):
    """Ends with a loud message and exit status 1 unless `condition` holds."""
    if not condition:
        console.print(Panel(f"DEMO FAILED: {message}", style="bold red"))
        sys.exit(1)


def compare(args, data):
    """Trains with both optimizers; returns tfopt's model, accuracy and figures, and all losses."""
    table = Table("optimizer", "test accuracy", "test loss")
    models, losses, accuracies, figures = [], {}, [], []
    for label, optimizer in {
        "tfopt.Adam": tfopt.Adam(1e-3),
        "keras.optimizers.Adam": keras.optimizers.Adam(1e-3),
    }.items():
        keras.utils.set_random_seed(args.seed)  # initial weights, dropout, order of the batches
        models.append(build_model(optimizer))
        is_ours = isinstance(optimizer, tfopt.Optimizer)
        losses[label], own_figures = train(models[-1], data, args.epochs, label, records=is_ours)
        figures += own_figures
        loss, accuracy = models[-1].evaluate(*data[1], verbose=0)
        table.add_row(label, f"{accuracy:.4f}", f"{loss:.4f}")
        accuracies.append(accuracy)
    console.print(table)
    ours, theirs = accuracies
    require(ours >= theirs - TOLERANCE, f"tfopt.Adam reached {ours:.4f}, Keras' Adam {theirs:.4f}")
    return models[0], ours, figures, losses


def train_on(model, accuracy, seed):
    """Saves a model, trains it on in a new process, and returns the losses there."""
    with tempfile.TemporaryDirectory() as folder:
        path, results = os.path.join(folder, "digits.keras"), os.path.join(folder, "losses.json")
        model.save(path)
        iterations = int(model.optimizer.iterations)
        options = dict(resume=path, iterations=iterations, accuracy=accuracy, seed=seed,
                       results=results)  # fmt: skip
        arguments = [f"--{name}={value}" for name, value in options.items()]
        status = subprocess.run([sys.executable, __file__, *arguments]).returncode
        require(status == 0, "the saved model could not be trained on in a new process")
        return json.loads(Path(results).read_text())


def resume(args):
    """Loads the saved model, `import tfopt` being all that this takes, and trains on."""
    keras.utils.set_random_seed(args.seed)
    data = load_data(args.seed)
    model = keras.models.load_model(args.resume)
    require(isinstance(model.optimizer, tfopt.Adam), f"the optimizer is a {type(model.optimizer)}")
    before = int(model.optimizer.iterations)
    require(before == args.iterations, f"saved at iteration {args.iterations}, loaded at {before}")
    losses, _ = train(model, data, RESUMED_EPOCHS, "resumed, new process")
    after = int(model.optimizer.iterations)
    steps = RESUMED_EPOCHS * -(-len(data[0][0]) // BATCH_SIZE)
    require(after == before + steps, f"{steps} steps led from iteration {before} to {after}")
    accuracy = model.evaluate(*data[1], verbose=0)[1]
    console.print(f"Iterations went on from {before} to {after}; test accuracy {accuracy:.4f}")
    worse = f"accuracy fell from {args.accuracy:.4f} to {accuracy:.4f} after resuming"
    require(accuracy >= args.accuracy - TOLERANCE, worse)
    args.results.write_text(json.dumps(losses))


INK, PALE, ORANGE, GREEN = "#263238", "#90a4ae", "#f9a03f", "#2e7d32"
LAYERS = {"conv_1": "#5e35b1", "conv_2": "#1e88e5", "hidden": "#00897b", "digits": "#d81b60"}


def plot_losses(axes, losses, resumed):
    """Draws the losses of both optimizers, and those after the model was loaded."""
    ours, theirs = losses.values()
    epochs = range(1, len(ours["loss"]) + 1)
    later = range(len(ours["loss"]), len(ours["loss"]) + len(resumed["loss"]) + 1)
    for name, style in {"loss": "-", "val_loss": "--"}.items():
        axes.plot(epochs, theirs[name], style, color=ORANGE, linewidth=5, alpha=0.55)
        axes.plot(epochs, ours[name], style, color=INK, linewidth=1.6)
        axes.plot(later, [ours[name][-1], *resumed[name]], style, color=GREEN, linewidth=1.6)
    axes.axvline(epochs[-1], ymax=0.75, color=PALE, linewidth=1, linestyle=":")
    for label, look in {
        "keras.optimizers.Adam": dict(color=ORANGE, linewidth=5, alpha=0.55),
        "tfopt.Adam": dict(color=INK, linewidth=1.6),
        "tfopt.Adam, saved and loaded in a new process": dict(color=GREEN, linewidth=1.6),
        "dashed: on the test images": dict(color=PALE, linestyle="--"),
    }.items():
        axes.plot([], [], label=label, **look)
    axes.set(title="The losses fall as with Keras, and training goes on after loading",
             xlabel="epoch", ylabel="cross-entropy", yscale="log")  # fmt: skip
    axes.yaxis.set_major_formatter("{x:g}")
    axes.legend(frameon=False, fontsize=9)


def plot_update_ratios(axes, figures):
    """Draws how far each step moved the weights of each layer, compared with their size."""
    for layer, color in LAYERS.items():
        name = f"update_ratio/model/{layer}/kernel"
        recorded = {number: each for number, each in enumerate(figures, 1) if number % EVERY == 0}
        axes.plot(
            recorded.keys(),
            [each[name] for each in recorded.values()],
            color=color,
            linewidth=1.1,
            label=layer,
        )
    axes.axhline(1e-3, color=PALE, linewidth=1, linestyle=":")
    axes.annotate("about 0.1 % is usual", (0, 1e-3), (2, 4), color=INK, fontsize=9,
                  textcoords="offset points")  # fmt: skip
    axes.set(title="tfopt.inspect shows how far each step moves the weights",
             xlabel="step", ylabel="change of the weights in a step", yscale="log")  # fmt: skip
    axes.yaxis.set_major_formatter(lambda ratio, _: f"{100 * ratio:g} %")
    axes.legend(frameon=False, fontsize=9)


def plot(losses, resumed, figures, path):
    """Draws the picture on white, so that it can be read on a dark page too."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    style = {"font.size": 10, "axes.titlesize": 10, "axes.titleweight": "bold",
             "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": PALE,
             "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
             "grid.color": "#eceff1", "axes.grid": True, "axes.axisbelow": True}  # fmt: skip
    with plt.rc_context(style):
        figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.3), layout="constrained")
        plot_losses(left, losses, resumed)
        plot_update_ratios(right, figures)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=200, facecolor="white")
    console.print(f"Picture: {path}")


def main(args):
    if args.resume:
        return resume(args)
    model, accuracy, figures, losses = compare(args, load_data(args.seed))
    resumed = train_on(model, accuracy, args.seed)
    plot(losses, resumed, figures, args.out)


if __name__ == "__main__":
    main(ARGUMENTS)
