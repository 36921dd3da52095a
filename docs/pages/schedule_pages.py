"""The page of each learning rate schedule, with its curves."""

import inspect
from pathlib import Path

import numpy as np

from pages import pictures
from tfopt import schedules

STEPS = 100
# What a picture shows of each schedule: calls, which are its legend, too.
SHOWN = {
    "CosineDecay": [
        "CosineDecay(1.0, 100)",
        "CosineDecay(1.0, 80, alpha=0.1)",
        "CosineDecay(0.0, 85, warmup_target=1.0, warmup_steps=15)",
    ],
    "CosineDecayRestarts": [
        "CosineDecayRestarts(1.0, 14)",
        "CosineDecayRestarts(1.0, 25, t_mul=1.0, m_mul=0.7)",
    ],
    "Cyclic": [
        "Cyclic(0.1, 1.0, 12.5)",
        'Cyclic(0.1, 1.0, 12.5, "triangular2")',
        'Cyclic(0.1, 1.0, 12.5, "exp", gamma=0.98)',
    ],
    "ExponentialDecay": [
        "ExponentialDecay(1.0, 25, 0.5)",
        "ExponentialDecay(1.0, 25, 0.5, staircase=True)",
    ],
    "InverseTimeDecay": [
        "InverseTimeDecay(1.0, 25, 1.0)",
        "InverseTimeDecay(1.0, 25, 1.0, staircase=True)",
    ],
    "LinearDecay": ["LinearDecay(1.0, 100)", "LinearDecay(1.0, 60, end_learning_rate=0.2)"],
    "OneCycle": [
        "OneCycle(1.0, 100)",
        'OneCycle(1.0, 100, anneal="linear")',
        "OneCycle(1.0, 100, three_phase=True)",
    ],
    "PiecewiseConstantDecay": ["PiecewiseConstantDecay([30, 60, 80], [1.0, 0.5, 0.2, 0.1])"],
    "PolynomialDecay": [
        "PolynomialDecay(1.0, 100, 0.1)",
        "PolynomialDecay(1.0, 100, 0.1, power=2.0)",
        "PolynomialDecay(1.0, 30, 0.1, cycle=True)",
    ],
    "Sequence": ["Sequence([0.4, CosineDecay(1.0, 50), 0.1], boundaries=[20, 70])"],
    "Warmup": [
        "Warmup(CosineDecay(1.0, 85), 15)",
        "Warmup(0.7, 30)",
        "Warmup(ExponentialDecay(1.0, 25, 0.5), 15, initial_learning_rate=0.3)",
    ],
    "WarmupStableDecay": [
        "WarmupStableDecay(1.0, 10, 60, 30)",
        'WarmupStableDecay(1.0, 10, 60, 30, "1-sqrt")',
        'WarmupStableDecay(1.0, 10, 60, 30, "cosine")',
    ],
}
CLASSES = [getattr(schedules, name) for name in schedules.__all__ if name in SHOWN]


def draw(cls, path: Path) -> None:
    """Draws the curves of a schedule by calling it with each step."""
    figure, axes = pictures.figure(6.4, 3.2)
    steps = np.linspace(0, STEPS, 20 * STEPS + 1, dtype="float32")
    for call, style in zip(SHOWN[cls.__name__], ("-", "--", ":"), strict=False):
        schedule = eval(call, {name: getattr(schedules, name) for name in schedules.__all__})
        axes.plot(steps, schedule(steps), style, linewidth=1.8, label=call)
    axes.set(xlabel="step", ylabel="learning rate", xlim=(0, STEPS), ylim=(0, 1.05))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=9)
    pictures.save(figure, path)


def page(cls, folder) -> str:
    """The page as Markdown; draws its picture into a folder."""
    name = cls.__name__
    draw(cls, folder / f"{name}.svg")
    return f"""# {name}

{pictures.image(f"{name}.svg", f"The learning rate of {name} by step")}
```{{eval-rst}}
.. autoclass:: tfopt.schedules.{name}
```

[Learning rate schedules](../../schedules.md) says which schedule to take when.
"""


def sources(cls) -> str:
    """The text of all that a page is made of."""
    return Path(inspect.getfile(cls)).read_text() + Path(__file__).read_text()


def name_of(cls) -> str:
    """The name of a page's file."""
    return cls.__name__
