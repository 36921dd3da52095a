"""The picture of an optimizer's recorded curve on the digits, among those of the others."""

import functools
import json
from pathlib import Path

import numpy as np

from pages import examples, pictures
from pages.digits_training import EPOCHS, POINT

RECORD = Path(__file__).parent.parent / "curves.json"


@functools.cache
def record() -> dict:
    """What `record_curves.py` wrote."""
    return json.loads(RECORD.read_text())


def section(cls, folder) -> str:
    """Draws the curve; says how it came about."""
    name = cls.__name__
    own = record()[name]
    figure, axes = pictures.figure()
    for other, run in record().items():
        if other != name:
            axes.plot(_epochs(run), run["losses"], color="0.82", linewidth=0.8)
    axes.plot(_epochs(own), own["losses"], color="C0", linewidth=2.2, label=name)
    axes.set(
        xlabel="epoch", ylabel="training loss", yscale="log", ylim=(0.002, 4), xlim=(0, EPOCHS)
    )
    axes.legend(loc="upper right")
    pictures.save(figure, folder / f"{name}-digits.svg")
    tried = [f"{rate:g}" for rate in own["tried"]]
    searched = (
        f"Of the learning rates {', '.join(tried[:-1])} and {tried[-1]}, {own['learning_rate']:g} "
        "had the lowest loss in the last epoch."
        if len(tried) > 1
        else "It needs no search for a learning rate."
    )
    call = examples.shown(cls, **{"learning_rate": own["learning_rate"], **arguments(cls)})
    return f"""The picture shows the training loss of `{call}` on
scikit-learn's 1,797 handwritten digits, with the network of `tfopt compare`. The grey curves are
the other optimizers on these pages, each at its own best rate, from the same weights and with the
same batches. {searched}
After {EPOCHS} epochs it recognized {own["accuracy"]:.1%} of the test digits.
One small problem and one seed do not tell which optimizer is best for yours.

{pictures.image(f"{name}-digits.svg", f"Training loss of {name} and others on digits")}"""


def arguments(cls) -> dict:
    """The arguments, besides the learning rate, with which an optimizer was trained."""
    return examples.ARGUMENTS.get(cls.__name__, {})


def _epochs(run):
    return (np.arange(len(run["losses"])) + 0.5) * POINT / 45
