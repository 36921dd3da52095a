"""How pictures look: transparent SVG, whose lightness the style sheet inverts in the dark mode."""

from pathlib import Path

from matplotlib import pyplot

STYLE = {
    "svg.hashsalt": "tfopt",  # the same names of clip paths each time
    "savefig.transparent": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "font.size": 10,
}


def figure(width=6.4, height=3.6):
    """A figure of one plot, and its axes."""
    return pyplot.subplots(figsize=(width, height), layout="constrained")


def save(shown, path: Path) -> None:
    shown.savefig(path, metadata={"Date": None})
    pyplot.close(shown)


def image(file: str, says: str) -> str:
    """The Markdown of a picture; `says` is read to those who do not see it."""
    return f"```{{image}} {file}\n:alt: {says}\n:width: 100%\n```\n"
