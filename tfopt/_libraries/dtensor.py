"""DTensor: meshes and layouts. No other file uses them.

A variable that DTensor splits over a mesh has a `layout`. A slot of the same shape has the same
layout. Scalars are on the same mesh, whole on each device.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import tensorflow as tf

_dtensor = tf.experimental.dtensor

# Before 2.18, a step could update an average with the value of the variable before the step.
_AVERAGES_OF_SPLIT_SLOTS = not tf.__version__.startswith(("2.16.", "2.17."))


def is_on_mesh(variable: Any) -> bool:
    """Returns whether a variable is DTensor's."""
    return hasattr(variable, "layout")


# --- where variables of the optimizer lie ---------------------------------------------------------


def layout_of_slot(variable: Any, shape: Any, split_over: str | None = None) -> Any:
    """Returns the layout of a slot: its variable's, if the shapes are equal; None without a mesh.

    With `split_over`, a dimension of the mesh, the slot is also split over this dimension, along
    the first axis that can be split.
    """
    if not is_on_mesh(variable):
        return None
    layout = variable.layout
    if variable.shape != shape:
        return _dtensor.Layout.replicated(layout.mesh, tf.TensorShape(shape).rank)
    specs = list(layout.sharding_specs)
    if split_over is None or split_over in specs:
        return layout
    parts = layout.mesh.dim_size(split_over)
    for axis, (spec, size) in enumerate(zip(specs, shape, strict=True)):
        if spec == _dtensor.UNSHARDED and size % parts == 0:
            specs[axis] = split_over
            return _dtensor.Layout(specs, layout.mesh)
    return layout


def layout_of_scalars(
    variable: Any,
    variable_path: str,
    split_over: str | None,
    current: Any,
    created: bool,
    owner: str,
) -> Any:
    """Returns the layout of an optimizer's scalars, which must be on the mesh of its variables.

    Args:
        variable: the first of the variables that the optimizer sees.
        variable_path: its path, for messages.
        split_over: the dimension over which slots are split, or None.
        current: the present layout of scalars.
        created: whether there are scalars already.
        owner: the name of the optimizer, for messages.
    """
    layout = layout_of_slot(variable, ())
    if split_over is not None:
        names = [] if layout is None else layout.mesh.dim_names
        if split_over not in names:
            raise ValueError(
                "`shard_slots` must be a dimension of the variables' DTensor mesh: "
                f"`{variable_path}` is {_place(layout)}"
                f"{' of ' + ', '.join(names) if names else ''}; got {split_over!r}."
            )
    if str(layout) == str(current):  # a layout compares with layouts only
        return current
    if created:
        raise ValueError(
            f"`{owner}` has its scalars {_place(current)} already, and cannot "
            f"update `{variable_path}`, which is {_place(layout)}: take an optimizer for each, and "
            "call `build` with its variables before you read it, load into it or scale a loss."
        )
    return layout


def place_scalars_like(taker: Any, giver: Any, by_default: bool = False) -> None:
    """Gives a state the layout that another has for its scalars.

    If that has none, and `by_default` is True, the layout is on the mesh of `dtensor.default_mesh`.
    """
    mesh = _dtensor.get_default_mesh() if by_default else None
    if giver.layout is not None:
        taker.layout = giver.layout
    elif mesh is not None:
        taker.layout = _dtensor.Layout.replicated(mesh, 0)


def create_variable(
    initial_value: Callable[[], Any] | Any, dtype: Any, layout: Any, **kwargs: Any
) -> Any:
    """Creates a variable on a mesh."""

    def value() -> Any:
        return tf.cast(initial_value() if callable(initial_value) else initial_value, dtype)

    value = _dtensor.call_with_layout(value, layout)
    return _dtensor.DVariable(value, layout=layout, dtype=dtype, **kwargs)


def _place(layout: Any) -> str:
    return "on no DTensor mesh" if layout is None else f"on a DTensor mesh of {layout.mesh.size}"


# --- values ---------------------------------------------------------------------------------------


def gathered(variable: Any) -> Any:
    """Returns a variable or tensor with the whole value, which DTensor may hold in parts."""
    if not is_on_mesh(variable):
        return variable
    everywhere = _dtensor.Layout.replicated(variable.layout.mesh, variable.shape.rank)
    return _dtensor.unpack(_dtensor.relayout(variable.read_value(), everywhere))[0]


def scattered(value: Any, variable: Any) -> Any:
    """Returns a whole value with the DTensor layout of the variable."""
    if not is_on_mesh(variable):
        return value
    everywhere = _dtensor.Layout.replicated(variable.layout.mesh, variable.shape.rank)
    return _dtensor.relayout(_dtensor.copy_to_mesh(value, everywhere), variable.layout)


def laid_out_as(variable: Any, value: Any) -> Any:
    """Returns a tensor with the layout of a variable, if that has one."""
    return _dtensor.relayout(value, variable.layout) if is_on_mesh(variable) else value


def laid_out_as_slots(values: Sequence[Any], variable: Any, slots: Sequence[Any]) -> list[Any]:
    """Returns the values with the DTensor layout of the variable's slots."""
    if not is_on_mesh(variable):
        return list(values)
    alike = [slot for slot in slots if slot.shape == variable.shape]
    return [laid_out_as((alike or [variable])[0], value) for value in values]


# --- values that a step has written ---------------------------------------------------------------

# In a function DTensor combines all-reduces, and moves behind the last one whatever needs a result
# of any: updates, for example, but not a later read of the updated variable, which then gives the
# old value. So a step passes on what it has written, and does not read it again.

# By the id of a variable: the variable, and the value that it was given.
_Written = dict[int, tuple[Any, Any]]
_WRITTEN: ContextVar[_Written | None] = ContextVar("written", default=None)


@contextlib.contextmanager
def passing_values_on(iterations: Any) -> Iterator[None]:
    """Makes `read` return what was written in a `with` block, if a function with DTensor is traced.

    Args:
        iterations: a variable of the optimizer, which is on the mesh of the others.
    """
    if not is_on_mesh(iterations) or tf.executing_eagerly():
        yield
        return
    token = _WRITTEN.set({})
    try:
        yield
    finally:
        _WRITTEN.reset(token)


def passes_values_on() -> bool:
    """Returns whether reads give what was written before in the same step."""
    return _WRITTEN.get() is not None


def note_written(variable: Any, value: Any) -> None:
    """Remembers the value that a variable was given, for `read`."""
    written = _WRITTEN.get()
    if written is not None:
        written[id(variable)] = variable, value


def read(variable: Any) -> Any:
    """Returns the value of a variable: what the step has written, if it has."""
    written = _WRITTEN.get() or {}
    _, value = written.get(id(variable), (None, None))
    return variable.read_value() if value is None else value


def when(condition: Any, function: Callable[[], None]) -> None:
    """Runs the function if the condition is true. What it writes into scalars is passed on."""
    before = _WRITTEN.get()
    if before is None:
        tf.cond(condition, function, lambda: None)
        return
    written = dict(before)
    changed: _Written = {}

    def branch() -> list[Any]:
        token = _WRITTEN.set(written)
        try:
            function()
        finally:
            _WRITTEN.reset(token)
        changed.update({k: new for k, new in written.items() if new is not before.get(k)})
        return [value for variable, value in changed.values() if variable.shape.rank == 0]

    def unchanged() -> list[Any]:
        return [read(variable) for variable, _ in changed.values() if variable.shape.rank == 0]

    values = iter(tf.cond(condition, branch, unchanged))
    for key, (variable, _) in changed.items():
        before.pop(key, None)
        if variable.shape.rank == 0:
            before[key] = variable, next(values)


# --- what DTensor does not support ----------------------------------------------------------------


def check_split(split_over: Any, hooked_class: str | None) -> None:
    """Raises if `shard_slots` is not a name, or cannot be combined with other arguments.

    Args:
        split_over: the value of `shard_slots`.
        hooked_class: the name of the optimizer's class if hooks update its variables, or None.
    """
    if split_over is None:
        return
    if not isinstance(split_over, str):
        raise TypeError(
            "`shard_slots` must be the name of a dimension of a DTensor mesh, or None; got "
            f"{split_over!r}."
        )
    if hooked_class is not None:
        raise ValueError(
            f"`shard_slots` must be None: {hooked_class} updates variables by hooks, "
            f"which take slots that lie as their variables do; got {split_over!r}."
        )


def check_averages(split_over: Any) -> None:
    """Raises if averages of the weights, split as `shard_slots` says, would be wrong."""
    if split_over is not None and not _AVERAGES_OF_SPLIT_SLOTS:
        raise NotImplementedError(
            "`shard_slots` must be None together with `use_ema` before TensorFlow 2.18, whose "
            f"DTensor averages some variables as they were before the step; got {split_over!r}."
        )


def refuse_rows(variable: Any, variable_path: str) -> None:
    """Raises for a gradient of rows, if the variable is on a mesh."""
    if is_on_mesh(variable):
        raise NotImplementedError(
            f"Variable `{variable_path}` is a DTensor's and has a sparse gradient, whose ops "
            "DTensor cannot split: look rows up by a product with `tf.one_hot`."
        )
