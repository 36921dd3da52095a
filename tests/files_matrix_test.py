"""Formats, and what happened between saving and loading: training goes on, or one warning says why.

`TFOPT_TESTS=all` runs every cell, in both libraries, with each kind of model.
"""

import pathlib

import pytest
from files_matrix import assert_as_the_table_says, cells, some_cells, table
from training import ALL

CELLS = cells() if ALL else some_cells()


@pytest.mark.parametrize("cell", CELLS, ids="-".join)
def test_goes_on_or_says_once_why_not(cell, tmp_path):
    assert_as_the_table_says(*cell, tmp_path)


def test_the_table_in_the_docs_is_this_one():
    page = pathlib.Path(__file__).parents[1] / "docs" / "state.md"
    assert table() in page.read_text()
