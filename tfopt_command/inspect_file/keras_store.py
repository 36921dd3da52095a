"""The state of optimizers in the HDF5 store of `.keras` and `.weights.h5` files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tfopt_command.inspect_file.found import Array, FoundOptimizer

_STATE = ("state", "weight")  # before the names of scalars and of variables that were added


def optimizers_in(store: Any) -> list[FoundOptimizer]:
    """Returns what the groups below `optimizer` hold; the innermost of wrappers comes first."""
    group = child(store, "optimizer")
    if group is None or not hasattr(group, "keys"):
        return []
    groups = sorted(_groups("optimizer", group), key=lambda named: -named[0].count("/"))
    return [_read(where, variables) for where, variables in groups]


def child(group: Any, name: str) -> Any:
    """Returns what is in a group; None for what is not there, or is a link into another file."""
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        return None
    return group[name]


def array_of(dataset: Any, slot: str) -> Array:
    """Returns a description of a dataset. Its values are not read."""
    return Array(slot, tuple(dataset.shape), str(dataset.dtype), dataset.dtype.itemsize)


def scalar(dataset: Any) -> Any:
    """Returns the number in a dataset; None if it is none, or lies in another file."""
    if dataset is None or getattr(dataset, "shape", None) != () or dataset.external:
        return None
    value = dataset[()]
    return value.item() if hasattr(value, "item") else None


def _groups(where: str, group: Any) -> Iterator[tuple[str, Any]]:
    """Returns each group of variables, `vars`, with the name of the object that they are of."""
    for name in group.keys():  # noqa: SIM118
        inner = child(group, name)
        if not hasattr(inner, "keys"):
            continue
        if name == "vars":
            yield where, inner
        else:
            yield from _groups(f"{where}/{name}", inner)


def _read(where: str, variables: Any) -> FoundOptimizer:
    found = FoundOptimizer(where)
    datasets = {name: child(variables, name) for name in variables.keys()}  # noqa: SIM118
    datasets = {n: dataset for n, dataset in datasets.items() if hasattr(dataset, "dtype")}
    if "layout" in datasets:
        _read_tfopt(found, datasets)
    elif datasets:
        _read_numbered(found, datasets)
    return found


def _read_tfopt(found: FoundOptimizer, datasets: dict[str, Any]) -> None:
    """Reads what tfopt wrote, which names everything."""
    try:
        layout = json.loads(datasets["layout"][()].tobytes())
        names = [str(slot) for block in layout["slots"] for _, slot in block]
        found.optimizer = f"tfopt.{layout['class']}"
        schedules = dict(layout.get("schedules") or {})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        found.notes.append(f"The layout of the state is not legible: {error}.")
        return
    for number, slot in enumerate(names):
        dataset = datasets.get(f"slot.{number}")
        if dataset is None:
            found.notes.append(f"The file is damaged: array {number} of the slots is missing.")
        else:
            found.slots.append(array_of(dataset, slot))
    for name, dataset in datasets.items():
        prefix, _, rest = name.partition(".")
        value = _rounded(scalar(dataset))
        if prefix == "hyper" and value is not None:
            found.add_number(rest, value)
        elif prefix in _STATE and value is not None:
            found.scalars[rest] = value
    found.step = found.scalars.pop("iterations", None)
    if found.learning_rate is None and "learning_rate" in schedules:
        found.learning_rate = "a schedule"
    if layout.get("evaluated"):
        found.notes.append("The weights in the file are evaluation weights, not those of training.")


def _read_numbered(found: FoundOptimizer, datasets: dict[str, Any]) -> None:
    """Reads what Keras 3 and tf-keras write: numbered variables, of which the first is the step."""
    numbered = [datasets[name] for name in sorted(filter(str.isdigit, datasets), key=int)]
    if numbered and numbered[0].dtype.kind in "iu":
        found.step = scalar(numbered.pop(0))
    if numbered and numbered[0].shape == () and numbered[0].dtype.kind == "f":
        found.learning_rate = _rounded(scalar(numbered.pop(0)))  # Keras 3 alone stores it here
    found.slots = [array_of(dataset, "") for dataset in numbered]
    found.scalars = {
        name: scalar(dataset)
        for name, dataset in datasets.items()
        if not name.isdigit() and scalar(dataset) is not None and name != "checksum"
    }
    if found.slots:
        found.notes.append(
            "Files of Keras number the arrays of an optimizer and do not name slots."
        )


def _rounded(value: Any) -> Any:
    """Returns the shortest number that is the same in float32."""
    return float(f"{value:.7g}") if isinstance(value, float) else value
