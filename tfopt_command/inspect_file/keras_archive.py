"""`.keras` files: a zip archive with a config in JSON and a store in HDF5."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from tfopt_command.inspect_file.config import add_config
from tfopt_command.inspect_file.found import FoundFile, FoundOptimizer, UnreadableFile
from tfopt_command.inspect_file.keras_store import optimizers_in

STORE = "model.weights.h5"


def read(path: Path) -> FoundFile:
    """Returns what a `.keras` file holds.

    Raises:
        UnreadableFile: if it is no such file.
    """
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if "config.json" not in names:
            raise UnreadableFile(
                f"`{path}` is a zip archive, but not a model of Keras: it has no config.json."
            )
        config, metadata = _json(archive, "config.json"), {}
        if "metadata.json" in names:
            metadata = _json(archive, "metadata.json")
        version = str(metadata.get("keras_version", "?"))
        library = "tf-keras" if version.startswith("2.") else "Keras 3"
        optimizers = _stored(archive) if STORE in names else []
    compiled = (config.get("compile_config") or {}).get("optimizer")
    if compiled is not None:
        found = optimizers[0] if optimizers else FoundOptimizer("optimizer")
        if not optimizers:
            optimizers = [found]
            found.notes.append("The file has a config of the optimizer, but no state.")
        add_config(found, compiled, library)
    saved = str(metadata.get("date_saved", "")).replace("@", " ")
    text = f".keras file of {library}, version {version}" + (f", saved {saved}" if saved else "")
    return FoundFile(str(path), text, optimizers)


def _json(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    try:
        content = json.loads(archive.read(name))
    except ValueError as error:
        raise UnreadableFile(f"The file is damaged: its {name} is not JSON: {error}.") from None
    if not isinstance(content, dict):
        raise UnreadableFile(f"The file is damaged: its {name} must hold an object.")
    return content


def _stored(archive: zipfile.ZipFile) -> list[FoundOptimizer]:
    import h5py

    try:
        # HDF5 reads parts of the file where it lies, so a large model does not fill the memory.
        with archive.open(STORE) as file, h5py.File(file, "r") as store:
            return optimizers_in(store)
    except OSError as error:
        raise UnreadableFile(f"The file is damaged: its {STORE} is not HDF5: {error}.") from None
