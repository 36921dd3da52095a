"""Whether two versions of tfopt compute the same numbers, bit for bit, on this machine.

    python tests/same_numbers.py --against ../another_checkout
    python tests/same_numbers.py --against ../another_checkout --only "replicas|mesh"
    python tests/same_numbers.py --against ../another_checkout --only "policies/Adam-.*-graph"

Each section trains many small configurations, in a process for each of the two trees, and writes
all that came of it. Only what is public is used, since the trees may differ in everything else.
Which numbers are right is not asked here: that is what the tests are for.

`--only` is searched for in the names of sections; where none has it, in `section/configuration`.
"""

import argparse
import os
import re
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np
from processes import run_side_by_side

TIMEOUT = 900  # seconds for a section; a hang must fail
SECTIONS = "dense sparse policies replicas mesh legacy hooks v1 resume half".split()


def run_section(section, file, only):
    """In a child: trains a section's configurations; what one raises is a result, too."""
    import same_numbers_sections

    import tfopt

    tree = Path(os.environ["PYTHONPATH"])
    assert Path(tfopt.__file__).resolve().is_relative_to(tree), tfopt.__file__
    found = {}
    for name, configuration in getattr(same_numbers_sections, section)():
        if re.search(only, f"{section}/{name}"):
            try:
                values = configuration()
            except Exception:
                values = {"raised": np.array(traceback.format_exc(limit=-3))}
            found.update({f"{name}/{key}": value for key, value in values.items()})
    np.savez(file, **found)


def results_of_trees(section, trees, only):
    """What a section gives with each tree, by processes side by side."""
    with tempfile.TemporaryDirectory() as folder:
        files = [f"{folder}/{number}.npz" for number in range(len(trees))]
        run_side_by_side(
            *([__file__, "--child", section, file, "--only", only] for file in files),
            timeout=TIMEOUT,
            environments=[{"PYTHONPATH": str(tree)} for tree in trees],
        )
        return [dict(np.load(file)) for file in files]


def is_same(one, other):
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


def compare(section, trees, only):
    """Prints a line, and the names of what is wrong; gives how much was compared, and is wrong."""
    begun = time.monotonic()
    ours, theirs = results_of_trees(section, trees, only)
    raised = {name: one for one in (theirs, ours) for name in one if name.endswith("/raised")}
    common = [name for name in ours if name in theirs and name not in raised]
    wrong = {
        "differ": [name for name in common if not is_same(ours[name], theirs[name])],
        "are of one tree only": [*(ours.keys() ^ theirs.keys())],
        "could not be trained": [*raised],
    }
    count = f"{len(common)} arrays, {len(wrong['differ'])} differ"
    print(f"{section:10} {count}  ({time.monotonic() - begun:.0f} s)", flush=True)
    for word, names in wrong.items():
        if names:
            print(f"  {len(names)} {word}: {', '.join(sorted(names)[:5])}", flush=True)
    for name, tree in list(raised.items())[:3]:
        print(f"{name}: {tree[name]}", flush=True)
    return len(common), sum(map(len, wrong.values()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, help="the other checkout")
    parser.add_argument("--only", default="", help="a regular expression for names")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run_section(*arguments.child, arguments.only)
        os._exit(0)  # a strategy's threads may wait for each other
    if arguments.against is None or not (arguments.against / "tfopt" / "__init__.py").exists():
        parser.error("--against must be a folder with another tfopt in it")
    trees = [Path(__file__).resolve().parent.parent, arguments.against.resolve()]
    sections, only = [name for name in SECTIONS if re.search(arguments.only, name)], ""
    if not sections:
        sections, only = SECTIONS, arguments.only
    compared, wrong = zip(*(compare(section, trees, only) for section in sections), strict=True)
    sys.exit(any(wrong) or not any(compared))


if __name__ == "__main__":
    main()
