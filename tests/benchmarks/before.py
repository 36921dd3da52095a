"""Another version of tfopt beside this one, in one process: `bench.py --against DIR`."""

import os
import re
import tempfile
from pathlib import Path

NAME = "tfopt_before"
FLOOR = 0.97  # of its speed: two identical steps differ by as much


def rename(checkout):
    """Has the worker processes find the package of another checkout, under another name."""
    folder = tempfile.mkdtemp()
    for path in (Path(checkout) / "tfopt").rglob("*.py"):
        target = Path(folder) / NAME / path.relative_to(Path(checkout) / "tfopt")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(re.sub(r"\btfopt\b", NAME, path.read_text()))
    known = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, known]))
    os.environ["TFOPT_BEFORE"] = NAME


def show(results, console):
    """Each case's speed as a part of the other version's; what is below the floor is marked."""
    slower = 0
    for row in results["rows"]:
        lazy = row["title"].endswith(", lazy")
        ratio = row["ratios"].get("before lazy" if lazy else "before")
        if ratio is None:
            continue
        is_slower = ratio["high"] < FLOOR
        slower += is_slower
        mark = "  SLOWER" if is_slower else "  below" if ratio["median"] < FLOOR else ""
        spread = f"{ratio['low']:.2f}..{ratio['high']:.2f}"
        console.print(f"{row['title']:<52} {ratio['median']:.2f}  ({spread}){mark}")
    console.print(f"{slower} of {len(results['rows'])} cases are slower than {FLOOR} of before")
    return slower
