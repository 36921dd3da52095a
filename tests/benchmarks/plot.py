"""The plot of docs/benchmarks.md."""

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402

PEERS = {"Keras 3": "#d1495b", "legacy": "#00798c", "tf-keras": "#edae49", "PyTorch fused": "#666"}
PANELS = {
    "transformer, graph": "23 M parameters, 97 variables",
    "1e6 uniform, default": "4,096 rows of 1e6 x 64",
    "1e6 uniform, lazy": "the same, tfopt with lazy=True",
}


def draw(rows, path):
    """How many times as long as tfopt others take; False if the run has none of it."""
    panels = {
        heading: [row for row in rows if row["title"].endswith(f", {group}")]
        for group, heading in PANELS.items()
    }
    panels = {heading: members for heading, members in panels.items() if members}
    if not panels:
        return False
    style = {"svg.fonttype": "none", "svg.hashsalt": "tfopt", "font.family": "sans-serif"}
    with plt.rc_context(style):
        figure, axes = plt.subplots(
            len(panels),
            squeeze=False,
            sharex=True,
            figsize=(8, 1.5 + 0.25 * sum(len(members) + 2 for members in panels.values())),
            height_ratios=[len(members) + 1 for members in panels.values()],
            layout="constrained",
        )
        for ax, (heading, members) in zip(axes.flat, panels.items(), strict=True):
            _panel(ax, heading, members)
        axes[-1, 0].set_xlabel("their time / tfopt's: right of the line, tfopt is faster")
        handles, labels = _legend(axes.flat)
        figure.legend(handles, labels, loc="outside upper center", ncols=len(PEERS), frameon=False)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
    return True


def _panel(ax, heading, members):
    for peer, color in PEERS.items():
        points = [(r["ratios"][peer], y) for y, r in enumerate(members) if peer in r["ratios"]]
        if points:
            medians = [ratio["median"] for ratio, _ in points]
            ax.plot(medians, [y for _, y in points], "o", color=color, label=peer)
            ax.hlines(
                [y for _, y in points],
                [ratio["low"] for ratio, _ in points],
                [ratio["high"] for ratio, _ in points],
                color=color,
            )
    ax.axvline(1, color="black", linewidth=1)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter("")
    ax.set_yticks(range(len(members)), [row["title"].partition(", ")[0] for row in members])
    ax.set_ylim(len(members) - 0.5, -0.5)
    ax.grid(axis="both", alpha=0.2)
    ax.set_title(heading, loc="left", fontsize="medium")
    ax.spines[["top", "right"]].set_visible(False)


def _legend(axes):
    found = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    labels = [peer for peer in PEERS if peer in found]
    return [found[label] for label in labels], labels
