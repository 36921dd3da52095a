"""The figures of a run as tables: on the terminal, and as docs/benchmarks.md."""

import math
from typing import NamedTuple

import plot
import rich.box
import rich.table
import targets

PEERS = (
    "Keras 3",
    "legacy",
    "tf-keras",
    "PyTorch fused",
    "PyTorch foreach",
    "Optax",
    "itself",
    "one group",
)
SLOWER = 0.97  # a ratio below is a case in which tfopt is slower
NOT_RUN = "not run"
SAME = 0.01  # weights of the same formula differ by less than this part of their way

INTRODUCTION = """\
# Benchmarks on a CPU: {cpu}, {cores} cores, without a GPU

`{command}` measured these figures and wrote this page. No GPU was used, and none has been
measured yet.

{machine}.
{versions}.

How to read it:

- Times are medians, ± half the width of the middle half of the rounds. All contenders of a case
  are in one process and do a few steps in turn, in orders in which each stands equally often
  in each place and after each other one.
- The other columns are the time of another library over tfopt's: above 1, tfopt is faster. A ratio
  is the median of the rounds' ratios. "legacy" is `tf_keras.optimizers.legacy`, "tf-keras" is
  `tf_keras.optimizers`; "-" is what a library does not have.
- All libraries get the same variables and the same gradients. "Graph" is a step in a
  `tf.function`, of small variables five steps, since calling it takes as long as one; "eager" is a
  call of `apply_gradients` outside of any `tf.function`.
- PyTorch and Optax each have a process of their own, and their rounds are in turn with the others.
  PyTorch always runs eagerly; Optax' step is compiled by `jax.jit` and waited for. PyTorch's Muon
  trains all matrices, and AdamW trains the rest.
- "Of copy" is how near a step of tfopt is to the machine's limit: its gradients, read once, and
  its variables and slots, read and written once each, per second, over the bandwidth at which
  {threads} copied memory in the same rounds. Measured before them: {bandwidth}.
  Small variables stay in caches, where what takes time is something else.
  A step may pass 100%: it writes where it has read, and a copy does not.
"""

SECTIONS = {
    "control": "Control",
    "dense": "Dense gradients",
    "sparse": "Sparse gradients",
    "groups": "Groups",
    "mirrored": "MirroredStrategy",
    "fit": "model.fit",
    "first": "First calls",
    "memory": "Memory",
    "import": "Import",
}
NOTES = {
    "control": "tfopt's step next to an identical one, with Keras 3 and legacy between: how far "
    "from 1 chance takes a ratio on this machine.",
    "dense": "The matrix is 4096 x 4096; the transformer has 23 M parameters in 97 variables; "
    "small are 200 variables of 1,024 or 32 numbers.",
    "sparse": "Steps in a `tf.function` on a table of 64 columns, of 4,096 indices, some of them "
    "repeated; eight batches take turns. The others are the same next to default and lazy tfopt.",
    "groups": "200 small variables in three groups, of which two have learning rates of their own, "
    "compared with the same variables in one.",
    "mirrored": "Two replicas on two logical devices of one CPU, which share its cores.",
    "fit": "A step of training with Adam: two transformer layers of width 128, 20,000 words, "
    "batches of 32 x 32.",
    "first": "Of a fresh optimizer. The first call creates slots, traces and steps; legacy "
    "creates its slots while tracing.",
    "memory": "Slots, and what a step in a `tf.function` takes for a moment on top of all that "
    "is there at rest.",
    "import": "`import tfopt` after `import tensorflow`, which imports Keras 3, in a fresh "
    "process. tfopt imports tf-keras, where it is installed.",
}


class Table(NamedTuple):
    """Strings; the first column is to the left."""

    title: str
    note: str
    headings: list[str]
    rows: list[list[str]]


def tables(results):
    """All tables of a run."""
    rows = results["rows"]
    yield _slower(rows)
    for section, heading in SECTIONS.items():
        of_section = [row for row in rows if row["section"] == section]
        if of_section:
            note = NOTES[section]
            for group, members in _grouped(of_section).items():
                title = f"{heading}: {group}" if group else heading
                make = _memory if section == "memory" else _times
                yield make(title, note, members)
                note = ""
    yield _targets(rows)


def _grouped(rows):
    """Rows of dense and sparse sections by problem and mode, which then leave the titles."""
    groups = {}
    for row in rows:
        label, _, rest = row["title"].partition(", ")
        if row["section"] not in ("dense", "sparse"):
            label, rest = row["title"], ""
        groups.setdefault(rest, []).append((label, row))
    return groups


def _times(title, note, members):
    peers = [peer for peer in PEERS if any(peer in row["ratios"] for _, row in members)]
    dense = any("reached" in row for _, row in members)
    unit, scale = ("s", 1) if members[0][1]["section"] in ("first", "import") else ("ms", 1e3)
    body = [
        [
            label,
            number(row["tfopt"], scale),
            *(number(row["ratios"].get(peer)) for peer in peers),
            *([f"{row['reached']['median']:.0%}"] if dense else []),
        ]
        for label, row in members
    ]
    return Table(title, note, ["", f"tfopt {unit}", *peers, *(["of copy"] if dense else [])], body)


def _memory(title, note, members):
    libraries = list({name: 0 for _, row in members for name in row["figures"]})
    body = []
    for label, row in members:
        for kind in ("slots", "temporary"):
            found = [row["figures"].get(library) for library in libraries]
            body.append(
                [f"{label}, {kind}", *(f"{f[kind] / 1e6:,.1f}" if f else "-" for f in found)]
            )
    return Table(title, note, ["MB", *libraries], body)


def _targets(rows):
    body = []
    for target, value, margin in targets.evaluate(rows):
        bound = f">= {target.least:.3g}" if target.least is not None else f"<= {target.most:.3g}"
        verdict = NOT_RUN if value is None else "met" if margin >= 0 else "missed"
        by = "" if value is None else f" by {abs(margin):.0%}"
        measured = "-" if value is None else f"{value:.3g}{target.unit}"
        body.append([target.text, bound, measured, verdict + by])
    note = "For the maintainers of tfopt: what a step should reach, and whether this run did."
    return Table("Targets", note, ["", "target", "measured", "verdict"], body)


def _slower(rows):
    body = [
        [row["title"], peer, number(ratio)]
        for row in rows
        for peer, ratio in row.get("ratios", {}).items()
        if ratio["high"] < SLOWER
    ]
    note = (
        f"Cases in which tfopt is slower: three quarters of the rounds' ratios are below {SLOWER}."
    )
    return Table("Slower than another", note if body else "None.", ["", "than", "ratio"], body)


def number(figure, scale=1):
    """A median, ± half of the middle half's width, to three digits or two decimals."""
    if figure is None:
        return "-"
    median = figure["median"] * scale
    half = (figure["high"] - figure["low"]) * scale / 2
    decimals = max(0, 2 - max(0, math.floor(math.log10(median)))) if median else 2
    return f"{median:,.{decimals}f} ±{half:,.{decimals}f}"


def _formulas(rows):
    """What the weights say after the warm-up."""
    found = {}
    for row in rows:
        for library, deviation in row.get("deviations", {}).items():
            if deviation > SAME:
                found.setdefault(library, {})[row["title"].partition(", ")[0]] = None
    if not found:
        return "After the warm-up all libraries' weights are those of tfopt."
    others = "; ".join(f"{library}: {', '.join(names)}" for library, names in found.items())
    return f"After the warm-up weights are those of tfopt, but for other formulas in {others}."


def show(results, console):
    """Prints all tables; of the targets, those that were run."""
    for table in tables(results):
        view = rich.table.Table(box=rich.box.SIMPLE_HEAD)
        for index, heading in enumerate(table.headings):
            view.add_column(heading, justify="right" if index else "left", no_wrap=not index)
        for cells in table.rows:
            if cells[-1] != NOT_RUN:
                view.add_row(*cells, style="red" if cells[-1].startswith("missed") else None)
        if view.rows:
            console.print(table.title, style="bold")
            console.print(table.note, style="dim", end="\n" if table.note else "")
            console.print(view)
    console.print(_formulas(results["rows"]))
    console.print(f"Copy bandwidth: {_bandwidth(results)}.")
    for title, error in results["failures"].items():
        console.print(f"FAILED {title}: {error}", style="bold red", markup=False)


def write_docs(results, folder):
    """Writes benchmarks.md and its plot."""
    plotted = plot.draw(results["rows"], folder / "benchmarks.svg")
    machine, versions = results["machine"], results["versions"]
    threads = results["bandwidth"]["threads"]
    text = [
        INTRODUCTION.format(
            command=results["command"],
            cpu=machine["cpu"],
            cores=machine["cores"],
            machine=f"{machine['cpu']}, {machine['cores']} cores, {machine['memory']:.0f} GiB; "
            f"{machine['system']}",
            versions=", ".join(f"{name} {version}" for name, version in versions.items()),
            threads="1 thread" if threads == 1 else f"{threads} threads",
            bandwidth=_bandwidth(results),
        )
    ]
    if plotted:
        text.append("![How many times as long others take](benchmarks.svg)\n")
    section = None
    for table in tables(results):
        heading, _, group = table.title.partition(": ")
        if heading != section:
            section = heading
            text.append(f"## {heading}\n")
            if heading == SECTIONS["dense"]:
                text.append(f"{NOTES['dense']} {_formulas(results['rows'])}\n")
            elif table.note:
                text.append(table.note + "\n")
        if group:
            text.append(f"### {group[0].upper() + group[1:]}\n")
        if table.rows:
            text.append(_markdown(table))
    for title, error in results["failures"].items():
        text.append(f"Failed: {title}: {error}\n")
    (folder / "benchmarks.md").write_text("\n".join(text))


def _bandwidth(results):
    figures = results["bandwidth"]
    return (
        f"{figures['all'] / 1e9:.1f} GB/s read and written with {figures['cores']} threads, "
        f"{figures['one'] / 1e9:.1f} GB/s with one"
    )


def _markdown(table):
    lines = [table.headings, ["---", *["---:"] * (len(table.headings) - 1)], *table.rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
