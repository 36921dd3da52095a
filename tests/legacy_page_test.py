"""What docs/legacy.md says: every name of OptimizerV2, and a test for each that is kept."""

import re
from pathlib import Path

import numpy as np
import tensorflow as tf
from either_base import EIGHT, OURS, V2

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "legacy.md").read_text()


def table(heading):
    """The rows of the table under a heading, each as lists of the names in its cells."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return [[re.findall(r"`(\w+)`", cell) for cell in row] for row in rows]


def names_of(legacy):
    """All names that the eight of OptimizerV2, or tfopt's, have once they are used."""
    names = set()
    for name in EIGHT:
        optimizer = getattr(legacy, name)()
        optimizer._create_all_weights([tf.Variable(1.0)])
        names |= {*dir(optimizer), *vars(optimizer)}
    return {name for name in names if not name.startswith(("__", "_self_", "_keras_api"))}


def test_the_page_lists_every_name_of_optimizer_v2():
    kept = {name for row in table("Names that are kept") for name in row[0]}
    dropped = {name for row in table("Names that are not kept") for name in row[0]}
    tracking = set(dir(tf.__internal__.tracking.Trackable()))
    assert names_of(V2) - tracking - {"_m_cache_read"} == (kept | dropped) - tracking
    assert not kept & dropped
    assert kept <= names_of(OURS)
    assert not [name for name in dropped if hasattr(OURS.SGD(), name)]


def test_the_page_names_a_test_for_every_name_that_is_kept():
    for names, *_, tests in table("Names that are kept"):
        assert names and tests
    sources = "".join(path.read_text() for path in Path(__file__).parent.glob("legacy_*_test.py"))
    for test in re.findall(r"`(test_\w+)`", PAGE):
        assert f"def {test}(" in sources, test


def test_the_code_on_the_page_runs():
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.M | re.S)
    names = {}
    exec(compile(block, "legacy.md", "exec"), names)
    np.testing.assert_allclose(names["x"].numpy(), [0.9, -1.9], rtol=1e-6)
