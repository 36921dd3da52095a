"""Compares tfopt with Keras 3, tf-keras and its legacy OptimizerV2: `make bench`.

A full run takes about 25 minutes on two cores and writes docs/benchmarks.md and its plot.
`--quick` runs what the targets need, `--only TEXT` the cases whose title has all words of TEXT;
neither writes the docs, unless `--docs` is given. `--against DIR` compares this version with that
of another checkout, and with nothing else.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import re
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # the limit here is the CPU's memory

import before
import frameworks
import keras
import numpy
import report
import targets
import tensorflow
import tf_keras
from measure import CORES, Copy
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from worker import CASES, Workers

import tfopt

DOCS = Path(__file__).resolve().parents[2] / "docs"
SECONDS = 3.0
PACKAGES = (tfopt, tensorflow, keras, tf_keras, numpy)


def main():
    options = parse()
    if options.against:
        before.rename(options.against)
    console = Console(width=None if sys.stdout.isatty() else 140)
    if options.load:
        results = json.loads(options.load.read_text())
    else:
        results = run(choose(options), options, console)
    if options.against:
        return bool(before.show(results, console) or results["failures"])
    report.show(results, console)
    if options.docs or not (options.quick or options.only or options.load):
        report.write_docs(results, DOCS)
    return bool(results["failures"])


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only what the targets need")
    parser.add_argument("--only", default="", help="only cases whose title has all these words")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="time for the rounds of a case"
    )
    parser.add_argument("--json", type=Path, help="a file to write the figures to")
    parser.add_argument("--load", type=Path, help="show the figures of this file; run nothing")
    parser.add_argument("--against", type=Path, help="a checkout of another version")
    parser.add_argument("--docs", action="store_true", help="write the docs in any case")
    return parser.parse_args()


def choose(options):
    """The cases to run."""
    needed = {title for target in targets.TARGETS for title in target.titles}
    words = [re.compile(rf"\b{re.escape(word)}", re.I) for word in options.only.split()]
    return [
        case
        for case in CASES
        if not options.quick or needed & set(case.titles)
        if any(all(word.search(title) for word in words) for title in case.titles)
    ]


def run(cases, options, console):
    one, every = Copy(threads=1), Copy(threads=CORES)
    bandwidth = {"one": one.bandwidth(), "all": every.bandwidth(), "cores": CORES}
    bandwidth["threads"] = 1 if bandwidth["one"] > bandwidth["all"] else CORES
    del one, every
    results = {
        "command": command(options),
        "machine": machine(),
        "versions": versions(),
        "bandwidth": bandwidth,
        "rows": [],
        "failures": {},
        "took": {},
    }
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=len(cases))
        workers = Workers(options.seconds, bandwidth["threads"])
        for case in cases:
            progress.update(task, description=case.titles[0])
            start = time.perf_counter()
            try:
                results["rows"] += workers.run(case)
            except Exception as error:  # one case must not cost all the others
                results["failures"][case.titles[0]] = repr(error)
            results["took"][case.titles[0]] = time.perf_counter() - start
            if options.json:  # after each case: a run is long
                options.json.write_text(json.dumps(results, indent=1))
            progress.advance(task)
        workers.stop()
    return results


def command(options):
    """What measures the same again."""
    arguments = ["--quick"] if options.quick else []
    arguments += [f"--only '{options.only}'"] if options.only else []
    arguments += [f"--seconds {options.seconds:g}"] if options.seconds != SECONDS else []
    return f'make bench BENCH_ARGS="{" ".join(arguments)}"' if arguments else "make bench"


def versions():
    found = {package.__name__: package.__version__ for package in PACKAGES}
    for name in frameworks.installed():
        found[name] = importlib.metadata.version(name)
    return {"Python": platform.python_version(), **found}


def machine():
    return {
        "cpu": cpu(),
        "cores": CORES,
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        "system": f"{platform.system()}, {platform.machine()}",
    }


def cpu():
    """The processor's model."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


if __name__ == "__main__":
    sys.exit(main())
