"""Functions on cells element by element, compiled like the dense updates of these cells."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tfopt._engine import devices, xla_functions
from tfopt._values.cells_and_codecs import Cell

if TYPE_CHECKING:
    from tfopt._engine.engine import Engine


def elementwise(
    engine: Engine, name: str, function: Callable[..., None], cells: Sequence[Cell], *scalars: Any
) -> None:
    """Calls `function(cells, *scalars)`, compiled if dense updates of these cells are compiled.

    Args:
        engine: the engine of the optimizer whose cells they are.
        name: a name of the function, for the key of what is compiled.
        function: it must hold nothing that belongs to one optimizer.
        cells: what it reads and writes.
        *scalars: tensors.
    """
    x = cells[0].variable
    if not devices.compiles(engine, x) or devices.is_small(x):
        function(cells, *scalars)
        return
    forms = tuple((cell.codec, cell.rowed) for cell in cells)
    parts = [list(cell.parts) for cell in cells]
    xla_functions.call_shared(
        (name, forms), functools.partial(_on_cells, function, forms), parts, *scalars
    )


def _on_cells(function: Callable[..., None], forms: Any, parts: Any, *scalars: Any) -> None:
    cells = [Cell(tuple(own), *form) for own, form in zip(parts, forms, strict=True)]
    function(cells, *scalars)
