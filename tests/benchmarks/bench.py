"""Compares optimizer steps, interleaved in one process: `make bench`.

Every contender does a few steps in turn, round after round, so that a drift of the machine's
speed meets all of them alike. Ratios are of medians, peer over tfopt: above 1, tfopt is faster.
The spread is that of the middle half of the rounds. The machine's copy bandwidth is measured
in the same run; `% of copy` is the part of it that a dense tfopt step reaches, counting each
variable, slot and gradient once for each time that it must be read or written.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from contenders import SHAPES, dense_problem, make_step, sparse_problem
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

PEERS = ("keras", "legacy", "tf_keras")
OPTIMIZERS = ("SGD", "RMSprop", "Adam", "AdamW", "Adadelta", "Adagrad", "Adamax", "Nadam", "Ftrl")
# How often a dense step must pass over memory: gradient and variable and slots, read and written.
PASSES = {"SGD": 3, "SGD momentum": 5, "RMSprop": 5, "Adagrad": 5}


def cases(quick):
    """(label, optimizer, arguments, problem, mode), in the order of the table."""
    for problem in ("transformer", "small", *(() if quick else ("matrix",))):
        for mode in ("graph", "eager"):
            for name in OPTIMIZERS:
                yield f"{name}", name, {}, problem, mode
            yield "SGD momentum", "SGD", {"momentum": 0.9}, problem, mode
            yield "Adam global_clipnorm", "Adam", {"global_clipnorm": 1.0}, problem, mode
            yield "SGD weight_decay", "SGD", {"weight_decay": 0.01}, problem, mode
            if quick:
                break
    tables = [("1e6", 10**6)] if quick else [("1e4", 10**4), ("1e5", 10**5), ("1e6", 10**6)]
    for size, rows in tables:
        for distribution in ("uniform", "zipf"):
            for name in ("SGD", "Adam", "Adagrad", "Ftrl", "Nadam", "RMSprop"):
                for lazy in (None, True):
                    label = f"{name} {'lazy' if lazy else 'default'}"
                    yield label, name, {"lazy": lazy}, (size, rows, distribution), "graph"


def problem_of(spec):
    return dense_problem(SHAPES[spec]) if isinstance(spec, str) else sparse_problem(*spec[1:])


def measure(steps, seconds):
    """Times the contenders in turn; gives the seconds a step, a list for each."""
    for step in steps.values():
        for _ in range(3):
            step()
    counts = {name: max(1, int(0.02 / max(clock(step, 2), 1e-6))) for name, step in steps.items()}
    times = {name: [] for name in steps}
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(times["tfopt"]) < 7:
        for name, step in steps.items():
            times[name].append(clock(step, counts[name]))
    return times


def clock(step, count):
    start = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - start) / count


def copy_bandwidth():
    """Bytes a second, read and written, by a copy of 256 MB."""
    source = np.ones(2**25)
    target = np.empty_like(source)
    times = []
    for _ in range(7):
        start = time.perf_counter()
        np.copyto(target, source)
        times.append(time.perf_counter() - start)
    return 2 * source.nbytes / statistics.median(times)


def summary(times):
    low, middle, high = np.percentile(times, [25, 50, 75])
    return {"ms": middle * 1e3, "spread": (high - low) / middle}


def run(options, console):
    rows = []
    chosen = [case for case in cases(options.quick) if options.only in f"{case[0]} {case[3]}"]
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("measuring", total=len(chosen))
        for label, name, arguments, spec, mode in chosen:
            progress.update(task, description=f"{label}, {spec}, {mode}")
            values, gradients = problem_of(spec)
            steps = {
                library: make_step(library, name, values, gradients, mode, **arguments)
                for library in ("tfopt", *PEERS)
            }
            times = measure({n: s for n, s in steps.items() if s is not None}, options.seconds)
            row = {
                "case": label,
                "problem": spec if isinstance(spec, str) else "x".join(map(str, spec[::2])),
                "mode": mode,
                **{library: summary(t) for library, t in times.items()},
            }
            if isinstance(spec, str):
                passes = PASSES.get(label, 7)
                row["bytes"] = passes * sum(v.nbytes for v in values)
            rows.append(row)
            progress.advance(task)
    return rows


def show(rows, bandwidth, console):
    table = Table(title=f"peer / tfopt, medians; copy bandwidth {bandwidth / 1e9:.1f} GB/s")
    for heading in ("optimizer", "problem", "mode", "tfopt ms", "spread", *PEERS, "% of copy"):
        table.add_column(
            heading, justify="left" if heading in ("optimizer", "problem") else "right"
        )
    for row in rows:
        mine = row["tfopt"]
        ratios = [f"{row[p]['ms'] / mine['ms']:.2f}" if p in row else "-" for p in PEERS]
        reached = row["bytes"] / (mine["ms"] / 1e3) / bandwidth if "bytes" in row else None
        table.add_row(
            row["case"],
            row["problem"],
            row["mode"],
            f"{mine['ms']:.2f}",
            f"{mine['spread']:.0%}",
            *ratios,
            f"{reached:.0%}" if reached else "-",
        )
    console.print(table)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer cases, for a first look")
    parser.add_argument("--only", default="", help="only cases whose label or problem has this")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each case")
    parser.add_argument("--json", help="a file to write the figures to")
    options = parser.parse_args()
    console = Console(width=110)
    before = copy_bandwidth()
    rows = run(options, console)
    bandwidth = statistics.median([before, copy_bandwidth()])
    show(rows, bandwidth, console)
    versions = {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "cores": os.cpu_count(),
    }
    console.print(versions)
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"versions": versions, "bandwidth": bandwidth, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    sys.exit(main())
