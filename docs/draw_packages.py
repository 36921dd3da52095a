"""Draws the packages of tfopt with the imports between them, floor by floor: `packages.svg`.

    pip install -e . --group lint matplotlib
    python docs/draw_packages.py          # draws it
    python docs/draw_packages.py --check  # fails if the picture is not of today's imports

The floors are those that `make lint` checks: `layers` in pyproject.toml. An arrow goes from what
imports to what is imported, light if other arrows lead there, too. Imports for types alone do not
count.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import grimp

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "packages.svg"


def floors() -> list[list[str]]:
    """The names on each floor, from the top."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    [layers] = [c["layers"] for c in contracts["contracts"] if c["type"] == "layers"]
    return [[name.strip().removeprefix("tfopt.") for name in row.split("|")] for row in layers]


def box(module: str) -> str:
    """The name of the box that a module is in."""
    package, _, rest = module.partition(".")
    return rest.split(".")[0] if package == "tfopt" else package


def arrows(names: set[str]) -> list[tuple[str, str, int]]:
    """(from, to, number of imports) between the children of tfopt, and with tfopt_command."""
    graph = grimp.build_graph("tfopt", "tfopt_command", exclude_type_checking_imports=True)
    counts: dict[tuple[str, str], int] = {}
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            pair = tuple(map(box, (importer, imported)))
            if pair[0] != pair[1] and set(pair) <= names:
                counts[pair] = counts.get(pair, 0) + 1
    return sorted((*pair, count) for pair, count in counts.items())


def is_implied(arrow: tuple[str, str, int], found: list[tuple[str, str, int]]) -> bool:
    """Whether other arrows lead from its beginning to its end, too."""
    one, other, _ = arrow
    seen, todo = set(), [b for a, b, _ in found if a == one and b != other]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += [b for a, b, _ in found if a == name]
    return other in seen


def as_text(found: list[tuple[str, str, int]]) -> str:
    """The arrows as the picture's description has them."""
    return "; ".join(f"{one} to {other}" for one, other, _ in found)


def draw() -> None:
    """Writes the picture."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "tfopt"
    import matplotlib.pyplot as plt

    rows = floors()
    places = {
        name: ((number + 0.5) / len(row), len(rows) - floor)
        for floor, row in enumerate(rows)
        for number, name in enumerate(row)
    }
    found = arrows(set(places))
    figure, axes = plt.subplots(figsize=(9, 0.8 * len(rows)))
    for arrow in sorted(found, key=lambda arrow: not is_implied(arrow, found)):
        one, other, count = arrow
        (x, y), (to_x, to_y) = places[one], places[other]
        shade = "0.85" if is_implied(arrow, found) else "0.3"
        axes.annotate(
            "",
            (to_x, to_y + 0.22),
            (x, y - 0.22),
            arrowprops={
                "arrowstyle": "-|>",
                "color": "red" if to_y >= y else shade,
                "linewidth": 0.5 + 0.12 * min(count, 20),
                "shrinkA": 0,
                "shrinkB": 0,
                "connectionstyle": f"arc3,rad={0.06 * (y - to_y - 1):.2f}",
            },
        )
    for name, (x, y) in places.items():
        style = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": "0.2"}
        label = name if name.startswith("_") else name.strip("_")
        axes.text(x, y, label, ha="center", va="center", bbox=style, family="monospace")
    axes.set(xlim=(0, 1), ylim=(0.5, len(rows) + 0.5))
    axes.axis("off")
    metadata = {"Date": None, "Title": "The packages of tfopt", "Description": as_text(found)}
    figure.savefig(PICTURE, bbox_inches="tight", metadata=metadata)
    print(f"{len(places)} packages and modules, {len(found)} arrows: {PICTURE.relative_to(ROOT)}")


def check() -> None:
    """Fails if the picture is of other imports."""
    names = {name for row in floors() for name in row}
    if as_text(arrows(names)) not in PICTURE.read_text():
        raise SystemExit(
            "docs/packages.svg is not of today's imports: python docs/draw_packages.py"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="draw nothing")
    check() if parser.parse_args().check else draw()
