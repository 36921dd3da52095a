"""Checkpoints of `tf.train.Checkpoint`, and the one in a SavedModel. This needs TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfopt_command.inspect_file.found import Array, FoundFile, FoundOptimizer, UnreadableFile

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_SLOT = "/.OPTIMIZER_SLOT/"
_STEPS = ("iter", "_iterations")  # of OptimizerV2 and tfopt, and of Keras 3 and tf-keras
_LISTS = ("_variables", "_trainable_variables", "_trainable_variables_indices")  # of Keras
_INNER = "/inner_optimizer"  # of a wrapper, which has numbers of its own


def prefix_of(path: Path) -> Path | None:
    """Returns what TensorFlow calls the path of a checkpoint; None if there is no checkpoint.

    Args:
        path: the prefix itself, one of the files, a folder with checkpoints or a SavedModel.
    """
    for prefix in (path, path.with_suffix(""), path / "variables" / "variables"):
        if prefix.with_name(f"{prefix.name}.index").is_file():
            return prefix
    return None


def read(path: Path) -> FoundFile:
    """Returns what a checkpoint holds.

    Raises:
        UnreadableFile: if there is no checkpoint.
    """
    import tensorflow as tf

    prefix = prefix_of(path)
    if prefix is None and path.is_dir():
        latest = tf.train.latest_checkpoint(str(path))
        prefix = None if latest is None else Path(latest)
    if prefix is None:
        raise UnreadableFile(f"`{path}` holds no checkpoint: there is no file that ends in .index.")
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        view = tf.train.CheckpointView(str(prefix))
    except (ValueError, tf.errors.OpError) as error:
        message = str(error).splitlines()[0]
        raise UnreadableFile(
            f"`{path}` is damaged, or no checkpoint of objects: {message}"
        ) from None
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    arrays = {
        key.removesuffix(_VALUE): Array("", tuple(shape), dtypes[key].name, dtypes[key].size)
        for key, shape in shapes.items()
        if key.endswith(_VALUE)
    }
    found = {}
    for key in sorted(arrays):
        name = _optimizer_of(key)
        if name is not None and name not in found:
            found[name] = _read(name, arrays, reader, view)
    kind = "SavedModel" if (path / "saved_model.pb").is_file() else "checkpoint"
    return FoundFile(str(prefix), f"{kind} of TensorFlow", list(found.values()))


def _optimizer_of(key: str) -> str | None:
    """Returns the name of the optimizer that an array belongs to."""
    if _SLOT in key:
        return key.partition(_SLOT)[2].rpartition("/")[0]
    name, _, last = key.rpartition("/")
    return name if last in _STEPS else None


def _read(name: str, arrays: dict[str, Array], reader: Any, view: Any) -> FoundOptimizer:
    found = FoundOptimizer(name or "the checkpoint itself")
    prefix = f"{name}/" if name else ""
    for key, array in sorted(arrays.items()):
        _, slot_mark, slot = key.partition(_SLOT)
        if slot_mark and slot.rpartition("/")[0] == name:
            found.slots.append(_named(array, slot.rpartition("/")[2]))
        elif not slot_mark and key.startswith(prefix) and "/" not in key.removeprefix(prefix):
            last = key.removeprefix(prefix)
            if last in _STEPS:
                found.step = _number(reader, key)
            elif not array.shape:
                found.add_number(last.lstrip("_"), _number(reader, key))
        elif name.endswith(_INNER) and key.rpartition("/")[0] == name.removesuffix(_INNER):
            if not array.shape:
                found.scalars[key.rpartition("/")[2]] = _number(reader, key)
    is_keras = f"{prefix}_iterations" in arrays
    if is_keras:
        _read_slots_of_keras(found, prefix, arrays, view)
    who = "Keras 3 or tf-keras" if is_keras else "tfopt or OptimizerV2 (tf_keras.optimizers.legacy)"
    found.notes.append(f"{who} wrote it. Checkpoints do not name the class of an optimizer.")
    return found


def _read_slots_of_keras(
    found: FoundOptimizer, prefix: str, arrays: dict[str, Array], view: Any
) -> None:
    """Reads the arrays of Keras' optimizers, which are in one list and, by slot, in others."""
    node = _node(view, prefix.strip("/"))
    lists = view.children(node) if node is not None else {}
    slots = {
        number: name
        for name, of_list in lists.items()
        if name not in _LISTS
        for number in view.children(of_list).values()
    }
    numbers = view.children(lists["_variables"]) if "_variables" in lists else {}
    for number, child in numbers.items():
        array = arrays.get(f"{prefix}_variables/{number}")
        if array is not None and (array.shape or child in slots):
            found.slots.append(_named(array, slots.get(child, "").lstrip("_")))


def _node(view: Any, path: str) -> int | None:
    node = 0
    for part in filter(None, path.split("/")):
        children = view.children(node)
        if part not in children:
            return None
        node = children[part]
    return node


def _named(array: Array, slot: str) -> Array:
    return Array(slot, array.shape, array.dtype, array.itemsize)


def _number(reader: Any, key: str) -> Any:
    plain = reader.get_tensor(key + _VALUE).item()
    return float(f"{plain:.7g}") if isinstance(plain, float) else plain
