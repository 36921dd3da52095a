"""Records the traces beside it: what optimizers of other packages do with given gradients.

Run it by hand, in an environment of its own; CI only replays the traces, without the packages:

    python3 -m venv /tmp/oracles
    /tmp/oracles/bin/pip install -r tests/oracles/requirements.txt
    /tmp/oracles/bin/pip install --no-deps timm==1.0.31  # its models need torchvision
    /tmp/oracles/bin/python tests/oracles/record.py /tmp/oracle_sources [name of a trace ...]

It clones the repositories that have no package into the folder that is its first argument. It
stores a trace only if `equations.py`, which shares no code with the package, gives the same
numbers at the tolerance of the trace. It also writes the table in `README.md`.
"""

import argparse
import json
import pathlib

import equations
import numpy as np
import packages
from table import STEPS, TRACES

HERE = pathlib.Path(__file__).parent
FOLDER = HERE / "traces"
README = """# Recorded traces of other packages

Each file in `traces` holds the first weights, the gradients, and the weights after each of
{steps} steps of an optimizer of another package, all in float64. `oracles_test.py` takes the same
steps with tfopt's optimizer. `record.py` made the files and this table. It stored a trace only if
the equations in `equations.py` gave the same numbers. The last column but one is the largest
difference that it saw.

| trace | optimizer of tfopt | package | version | tolerance | equations differ by | note |
| --- | --- | --- | --- | --- | --- | --- |
"""


def start(shapes, seed=1):
    random = np.random.default_rng(seed)
    return [random.normal(size=shape).round(3) for shape in shapes]


def gradients(shapes, zeros_at_first=True, seed=2):
    """Random gradients of a changing size. Some numbers are zero. Few digits make files small."""
    random = np.random.default_rng(seed)
    steps = []
    for step in range(STEPS):
        size = 1 + (step % 5) / 4
        steps.append(
            [
                (random.normal(size=s) * size * 32).round() / 32 * (random.random(s) > 0.15)
                for s in shapes
            ]
        )
    if not zeros_at_first:
        steps[0] = [np.where(g == 0, 0.5, g) for g in steps[0]]
    return steps


def follow(trace, initial, steps):
    """The weights and the evaluation weights that the equations give."""
    equation = equations.EQUATIONS[trace.optimizer]
    values, states = list(initial), [{} for _ in initial]
    weights, evaluated = [], []
    for t, grads in enumerate(steps, 1):
        for i, g in enumerate(grads):
            values[i] = equation(values[i], g, states[i], t, **trace.arguments)
        weights.append(list(values))
        evaluated.append([s.get("evaluated") for s in states])
    return weights, evaluated


def stacked(trajectory):
    """One array for each variable, whose first axis counts the steps."""
    return [np.stack(values) for values in zip(*trajectory, strict=True)]


def difference(ours, theirs):
    """The largest difference. Weights for evaluation that are not there yet are NaN in both."""
    pairs = list(zip(ours, theirs, strict=True))
    assert all(np.array_equal(np.isnan(a), np.isnan(b)) for a, b in pairs)
    return float(max(np.nanmax(abs(a - b)) for a, b in pairs))


def record(trace, names):
    """Stores a trace, and gives by how much the equations differ from it."""
    initial, steps = start(trace.shapes), gradients(trace.shapes, trace.zeros_at_first)

    def make(p):
        return eval(trace.call, {**names, "p": p})  # of the table

    with trace.patch():
        weights, evaluated = trace.run(make, initial, steps)
    ours, ours_evaluated = follow(trace, initial, steps)
    apart = difference(stacked(ours), stacked(weights))
    arrays = {"initial": initial, "gradients": stacked(steps), "weights": stacked(weights)}
    if evaluated is not None:
        arrays["evaluated"] = stacked(evaluated)
        apart = max(apart, difference(stacked(ours_evaluated), arrays["evaluated"]))
    assert apart < trace.tolerance, f"{trace.name}: the equations differ by {apart:.1e}."
    moved = difference(arrays["initial"], [w[-1] for w in arrays["weights"]])
    assert np.isfinite(moved) and moved > 1e-3, f"{trace.name}: weights moved by {moved:.1e}."
    texts = {
        "tfopt": json.dumps({"optimizer": trace.optimizer, "arguments": trace.arguments}),
        "package": trace.package,
        "version": packages.version_of(trace.package),
        "call": trace.call,
        "tolerance": trace.tolerance,
        "difference": apart,
        "note": trace.note,
    }
    numbered = {f"{k}_{i}": a for k, values in arrays.items() for i, a in enumerate(values)}
    np.savez_compressed(FOLDER / f"{trace.name}.npz", **numbered, **texts)
    return apart


def row(path):
    with np.load(path) as trace:
        text = {name: trace[name].item() for name in trace.files if trace[name].ndim == 0}
    settings = json.loads(text["tfopt"])
    version = text["version"][:10]
    cells = [
        path.stem,
        settings["optimizer"],
        text["package"],
        version,
        f"{text['tolerance']:.0e}",
        f"{text['difference']:.0e}",
        text["note"],
    ]
    return f"| {' | '.join(cells)} |\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", help="the folder for the repositories without a package")
    parser.add_argument("names", nargs="*", help="the traces to record, all by default")
    arguments = parser.parse_args()
    names = packages.names(arguments.sources)
    equations.COEFFICIENTS["polar_express"] = names["polar_express_coeffs"]
    FOLDER.mkdir(exist_ok=True)
    failed = []
    for trace in TRACES:
        if arguments.names and trace.name not in arguments.names:
            continue
        try:
            print(f"{trace.name:40s} {record(trace, names):.1e}", flush=True)
        except Exception as error:  # the others are recorded nevertheless
            failed.append(trace.name)
            print(f"{trace.name:40s} {type(error).__name__}: {error}", flush=True)
    known = {trace.name for trace in TRACES}
    for path in FOLDER.glob("*.npz"):
        if path.stem not in known:
            path.unlink()
    rows = [row(path) for path in sorted(FOLDER.glob("*.npz"))]
    (HERE / "README.md").write_text(README.format(steps=STEPS) + "".join(rows))
    raise SystemExit(f"not recorded: {failed}" if failed else 0)


if __name__ == "__main__":
    main()
