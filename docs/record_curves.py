"""Records the curves on the optimizers' pages: python docs/record_curves.py [NAME ...]

Each optimizer trains on scikit-learn's digits from the same weights and with the same batches, at
learning rates a factor of about 3 apart. The search begins at the default and goes on until the
best rate, by the mean loss of the last epoch, has a worse one on each side. The best value for
the picture of a path is recorded, too. All of this is in `docs/curves.json`, and
`tests/optimizer_pages_test.py` repeats a part of it.
"""

import json
import math
import os
import statistics
import sys
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from pages import examples, paths
from pages.digits_training import EPOCHS, Training

import tfopt

RECORD = Path(__file__).with_name("curves.json")
GRID = [10.0**power * digit for power in range(-6, 3) for digit in (1, 3)]
KEPT = [1 - rate for rate in reversed(GRID) if rate < 0.5]  # ConditionalGradient's part


def rates_of(cls):
    """The rates that a search may try, and where it begins."""
    if cls is tfopt.COCOB:  # which needs no search
        return [1.0], 0
    grid = [round(rate, 12) for rate in (KEPT if cls is tfopt.ConditionalGradient else GRID)]
    default = (tfopt.SGD if examples.is_wrapper(cls) else cls).learning_rate.default
    return grid, min(range(len(grid)), key=lambda i: abs(math.log(grid[i] / default)))


def search(cls):
    """The best run: its rate, its curve and its accuracy, and which rates were tried."""
    grid, at = rates_of(cls)
    training, runs = Training(cls), {}

    def score(i):
        if not 0 <= i < len(grid):
            return math.inf
        if i not in runs:
            runs[i] = training.run(grid[i])
        points = runs[i][0]
        last = statistics.fmean(points[-len(points) // EPOCHS :])
        return last if math.isfinite(last) else math.inf

    while (best := min((at, at - 1, at + 1), key=score)) != at:
        at = best
    points, accuracy = runs[at]
    return {
        "learning_rate": grid[at],
        "tried": sorted(grid[i] for i in runs),
        "path": paths.lowest(cls),
        "losses": [float(f"{point:.4g}") for point in points],
        "accuracy": round(accuracy, 4),
    }


def main():
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    names = [cls.__name__ for cls in examples.CLASSES]
    for cls in examples.CLASSES:
        if not sys.argv[1:] or cls.__name__ in sys.argv[1:]:
            record[cls.__name__] = run = search(cls)
            print(cls.__name__, run["learning_rate"], run["losses"][-1], run["accuracy"])
    lines = [f'"{name}": {json.dumps(record[name])}' for name in names if name in record]
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
