"""Tables in Markdown, and the table of recorded traces, from which pages quote."""

from pathlib import Path

TRACES = Path(__file__).parents[2] / "tests" / "oracles" / "README.md"


def table(heads, rows) -> str:
    """A table as Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def recorded(name) -> str:
    """The packages whose recorded steps an optimizer repeats."""
    lines = TRACES.read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    of, package, version = map(rows[0].index, ("optimizer of tfopt", "package", "version"))
    return ", ".join(sorted({f"{r[package]} {r[version]}" for r in rows if r[of] == name}))
