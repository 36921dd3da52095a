"""`.h5` files: `.weights.h5` with a store, or a whole model as Keras wrote it before `.keras`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tfopt_command.inspect_file.config import add_config
from tfopt_command.inspect_file.found import FoundFile, FoundOptimizer, UnreadableFile
from tfopt_command.inspect_file.keras_store import array_of, child, optimizers_in, scalar

_STEPS = ("iter", "iteration", "iterations")


def read(path: Path) -> FoundFile:
    """Returns what an HDF5 file holds.

    Raises:
        UnreadableFile: if it is not a file of Keras.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if "model_config" in file.attrs or "training_config" in file.attrs:
                return _whole_model(path, file)
            if "layer_names" in file.attrs:
                return FoundFile(str(path), "weights in HDF5 of an early version of Keras", [])
            if "layers" in file or "optimizer" in file or "vars" in file:
                return _weights(path, file)
    except OSError as error:
        raise UnreadableFile(f"`{path}` is damaged: {error}.") from None
    raise UnreadableFile(f"`{path}` is an HDF5 file, but not one of Keras 3 or tf-keras.")


def _weights(path: Path, file: Any) -> FoundFile:
    group = child(file, "vars")
    library = "Keras 3" if group is not None and "name" in group.attrs else "Keras 3 or tf-keras"
    optimizers = optimizers_in(file)
    for found in optimizers:
        if found.optimizer is None and found.step is not None:
            found.notes.insert(0, "Weights files do not say which optimizer of Keras wrote them.")
    return FoundFile(str(path), f".weights.h5 file of {library}", optimizers)


def _whole_model(path: Path, file: Any) -> FoundFile:
    version = str(file.attrs.get("keras_version", "?"))
    library = "tf-keras" if version.startswith("2.") else "Keras 3"
    optimizers = []
    weights = child(file, "optimizer_weights")
    try:
        training = json.loads(file.attrs["training_config"])
        config = training["optimizer_config"]
    except (KeyError, ValueError, TypeError):
        config = None
    if weights is not None or config is not None:
        found = FoundOptimizer("optimizer_weights")
        if weights is not None:
            _read_weights(found, weights, _model_paths(file))
        if config is not None:
            add_config(found, config, library)
        optimizers.append(found)
    return FoundFile(str(path), f".h5 file of {library}, version {version}", optimizers)


def _read_weights(found: FoundOptimizer, weights: Any, paths: list[str]) -> None:
    """Reads the arrays. A name has the variable's path and the slot in it, in various orders."""
    for name in _names(weights, "weight_names"):
        dataset = weights
        for part in name.split("/"):
            dataset = child(dataset, part) if hasattr(dataset, "keys") else None
        if not hasattr(dataset, "dtype"):
            continue
        short = re.sub(r":\d+$", "", name)
        last = short.rpartition("/")[2]
        if found.step is None and dataset.dtype.kind in "iu" and last in _STEPS:
            found.step = scalar(dataset)
        elif dataset.shape == () and last == "learning_rate":
            found.learning_rate = scalar(dataset)
        elif dataset.shape == () and _slot(short, paths) == "":
            found.scalars[last] = scalar(dataset)
        else:
            found.slots.append(array_of(dataset, _slot(short, paths)))


def _slot(name: str, paths: list[str]) -> str:
    """Returns the slot in the name of an array: what is left without the path of the variable."""
    for path in paths:
        for written in (path, path.replace("/", "_")):
            before, found, after = name.partition(written)
            if found:
                if after:
                    return after.strip("/_")
                return before.strip("/").rpartition("/")[2]
    return ""


def _model_paths(file: Any) -> list[str]:
    """Returns the paths of the model's variables, the longest first."""
    layers = child(file, "model_weights")
    if layers is None:
        return []
    found: set[str] = set()
    for name in layers.keys():  # noqa: SIM118
        layer = child(layers, name)
        if layer is not None and hasattr(layer, "attrs"):
            found |= {re.sub(r":\d+$", "", path) for path in _names(layer, "weight_names")}
    return sorted(found, key=len, reverse=True)


def _names(group: Any, name: str) -> list[str]:
    """Returns a list of texts in the attributes. Keras splits long ones into numbered parts."""
    parts = [name] if name in group.attrs else []
    while not parts or parts[0] != name:
        part = f"{name}{len(parts)}"
        if part not in group.attrs:
            break
        parts.append(part)
    texts = [text for part in parts for text in group.attrs[part]]
    return [text.decode() if isinstance(text, bytes) else str(text) for text in texts]
