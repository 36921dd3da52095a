"""`summary`: what an optimizer does with each variable, as a table that is printed."""

from __future__ import annotations

import shutil
import string
import textwrap
from collections.abc import Sequence
from typing import Any, Literal, overload

from tfopt.inspect.folded_names import Name, broken, folded
from tfopt.inspect.table import Row, describe

WIDTH = 80  # columns, where nothing says how many there are
GAP = "  "  # between two columns
NAMES = "variable"  # the heading of the first column
ONCE = ("dtype", "slots", "decay", "sparse", "path")  # said once if it is the same everywhere
MARKED = ("decay", "group")  # of which long texts may stand below the table
WRAPPED = {"slots", "sparse"}  # of which texts may be broken between words
NARROW, NARROWEST_NAME = (20, 12), 14  # how many characters they have where there is little room
TITLE, HEADING, NOTE = "bold", "bold", "dim"  # styles of rich

Columns = dict[str, list[str]]  # a text for each variable, by heading


@overload
def summary(
    optimizer: Any, variables: Any = ..., *, as_text: Literal[True], width: int | None = ...
) -> str: ...


@overload
def summary(
    optimizer: Any,
    variables: Any = ...,
    *,
    console: Any = ...,
    as_text: Literal[False] = ...,
    width: int | None = ...,
) -> None: ...


def summary(
    optimizer: Any,
    variables: Any = None,
    *,
    console: Any = None,
    as_text: bool = False,
    width: int | None = None,
) -> str | None:
    """Prints a table of what an optimizer does, or would do, with each variable.

    What all variables have in common is said once, below the table. Where names are too long for
    the table, it shows the part that several names share on a line of its own. The column `decay`
    says whether weight decay moves a variable, and if not, why.

    Args:
        optimizer: one of tfopt's, or a loss-scale wrapper of one.
        variables: a model, or a list of variables; by default those that the optimizer has
            seen.
        console: the `rich.console.Console` to print to; standard output by default.
        as_text: whether to return the table as a string and print nothing.
        width: how many characters a line has; by default as many as the console or terminal
            shows, and 80 for a text.

    Returns:
        None, or the table if `as_text` is True.

    Raises:
        TypeError: if `optimizer` is not one of tfopt's.
        ValueError: if there are no variables.

    >>> w, bias = tf.Variable(tf.zeros([4, 8]), name="w"), tf.Variable(tf.zeros(8), name="bias")
    >>> opt = tfopt.SGD(0.1, weight_decay=0.01, exclude_from_weight_decay=["bias"])
    >>> text = tfopt.inspect.summary(opt, [w, bias], as_text=True)
    >>> "no: excluded by 'bias'" in text, "2 variables, 40 parameters" in text
    (True, True)
    """
    rows = describe(optimizer, variables)
    if as_text:
        return "\n".join(line for line, _ in _lines(repr(optimizer), rows, width or WIDTH))
    console = console or _console()
    if console is None:
        columns = shutil.get_terminal_size((WIDTH, 0)).columns
        print("\n".join(line for line, _ in _lines(repr(optimizer), rows, width or columns)))
        return None
    from rich.text import Text

    lines = _lines(repr(optimizer), rows, width or console.width)
    console.print(Text("\n").join(Text(line, style) for line, style in lines), soft_wrap=True)
    return None


def _console() -> Any:
    """Returns a console of rich, which brings styles; None where rich is not installed."""
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console()


def _lines(title: str, rows: Sequence[Row], width: int) -> list[tuple[str, str]]:
    """Returns the lines of the whole summary, each with its style."""
    columns = _columns(rows)
    same = [name for name in ONCE if len(rows) > 1 and len(set(columns[name])) == 1]
    once = "; ".join(f"{name} {columns.pop(name)[0] or 'none'}" for name in same)
    names, columns, marks = _fitted([row.variable for row in rows], columns, width)
    notes = [f"({mark}) {text}." for text, mark in marks.items()]
    notes += [f"All variables: {once}."] if once else []
    notes += [_totals(rows), *_hints(rows)]
    return [
        *((line, TITLE) for line in _paragraph(title, width)),
        ("", ""),
        *_table(names, columns),
        ("", ""),
        *((line, NOTE) for note in notes for line in _paragraph(note, width)),
    ]


def _columns(rows: Sequence[Row]) -> Columns:
    columns = {
        "shape": [_shape_text(row.shape) for row in rows],
        "dtype": [row.dtype for row in rows],
        "slots": [_slots_text(row) for row in rows],
        "bytes": [f"{row.slot_bytes:,}" for row in rows],
        "decay": ["yes" if row.decays else f"no: {row.undecayed_because}" for row in rows],
        "sparse": ["rows (lazy)" if row.sparse == "rows" else row.sparse for row in rows],
        "path": [row.path for row in rows],
    }
    more = {"group": [", ".join(row.numbers) for row in rows], "role": [row.role for row in rows]}
    return {**columns, **{heading: texts for heading, texts in more.items() if any(texts)}}


def _shape_text(shape: Sequence[int | None]) -> str:
    return " × ".join("?" if size is None else str(size) for size in shape) or "scalar"


def _slots_text(row: Row) -> str:
    return ", ".join(
        name if shape == row.shape else f"{name} {_shape_text(shape)}"
        for name, shape in row.slots.items()
    )


def _totals(rows: Sequence[Row]) -> str:
    parameters, slots = sum(row.parameters for row in rows), sum(row.slot_bytes for row in rows)
    each = f", {slots / parameters:.2g} for each parameter" if parameters else ""
    variables = "1 variable" if len(rows) == 1 else f"{len(rows)} variables"
    return f"{variables}, {parameters:,} parameters, {slots:,} bytes of slots{each}."


def _hints(rows: Sequence[Row]) -> list[str]:
    """Returns what is often not meant: that biases and the scales of norms decay."""
    small = [row.variable for row in rows if row.decays and len(row.shape) <= 1]
    if not small or len(small) == len(rows):
        return []
    return [
        f"Weight decay moves {len(small)} of the variables that have at most one axis, such as "
        f"{small[0]}. Biases and norms are usually excluded: "
        "exclude_from_weight_decay=tfopt.groups.biases_and_norms"
    ]


def _paragraph(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _fitted(
    paths: Sequence[str], columns: Columns, width: int
) -> tuple[list[Name], Columns, dict[str, str]]:
    """Returns names and columns that fit, if any do, and the texts that stand below the table."""
    marked, marks = _marked(columns)
    candidates: list[tuple[Columns, dict[str, str]]] = [(columns, {}), (marked, marks)]
    candidates += [(_wrapped(marked, limit), marks) for limit in NARROW]
    for candidate, its_marks in candidates:
        room = _room(candidate, width)
        names = folded(paths, room)
        if max(len(text) for text in (NAMES, *(name.text for name in names))) <= room:
            return names, candidate, its_marks
    room = max(room, NARROWEST_NAME)
    names = [
        Name(line, name.number if first else None)
        for name in names
        for first, line in zip((True, *[False] * room), broken(name.text, room), strict=False)
    ]
    return names, candidate, its_marks


def _room(columns: Columns, width: int) -> int:
    """Returns how many characters the other columns leave for names."""
    return width - sum(
        len(GAP) + max(len(line) for text in (heading, *texts) for line in text.split("\n"))
        for heading, texts in columns.items()
    )


def _marked(columns: Columns) -> tuple[Columns, dict[str, str]]:
    """Returns the columns with marks in place of long texts, and the mark of each such text."""
    marks: dict[str, str] = {}

    def mark(text: str) -> str:
        before, _, reason = text.rpartition(": ")
        if not reason or text == "yes":
            return text
        text_below = f"does not decay: {reason}" if before else reason
        letter = marks.setdefault(text_below, string.ascii_lowercase[len(marks) % 26])
        return f"{before} ({letter})".strip()

    names = [name for name in MARKED if name in columns]
    return {**columns, **{name: list(map(mark, columns[name])) for name in names}}, marks


def _wrapped(columns: Columns, limit: int) -> Columns:
    return {
        heading: ["\n".join(textwrap.wrap(text, limit, break_long_words=False)) for text in texts]
        if heading in WRAPPED
        else texts
        for heading, texts in columns.items()
    }


def _table(names: Sequence[Name], columns: Columns) -> list[tuple[str, str]]:
    """Returns the lines of the table, each with its style."""
    rows = [([[NAMES], *([heading] for heading in columns)], HEADING)]
    for text, number in names:
        of_variable: list[list[str]] = [[]] * len(columns)
        if number is not None:
            of_variable = [texts[number].split("\n") for texts in columns.values()]
        rows.append(([[text], *of_variable], NOTE if number is None else ""))
    widths = [
        max(len(line) for row, _ in rows for line in (row[column] or [""]))
        for column in range(1 + len(columns))
    ]
    right = 1 + list(columns).index("bytes")
    lines = [(line, style) for row, style in rows for line in _joined(row, widths, right)]
    return [lines[0], ("─" * (sum(widths) + len(GAP) * (len(widths) - 1)), NOTE), *lines[1:]]


def _joined(row: Sequence[Sequence[str]], widths: Sequence[int], right: int) -> list[str]:
    """Returns the lines of a row; the column `right` is aligned to the right."""
    lines = []
    for number in range(max(map(len, row))):
        texts = [cell[number] if number < len(cell) else "" for cell in row]
        padded = [
            text.rjust(size) if column == right else text.ljust(size)
            for column, (text, size) in enumerate(zip(texts, widths, strict=True))
        ]
        lines.append(GAP.join(padded).rstrip())
    return lines
