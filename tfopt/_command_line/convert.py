"""The command `tfopt convert`: gives the model in a .keras file an optimizer of tfopt."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from tfopt import registry
from tfopt._libraries import tf_variables
from tfopt._libraries.keras import tf_keras
from tfopt._libraries.warnings import TfoptWarning
from tfopt.conversion import COUNTERPARTS, convert
from tfopt.optimizer import Optimizer
from tfopt.optimizers.adam import Adam
from tfopt.optimizers.adamw import AdamW
from tfopt_command import current_folder, inspect_arguments
from tfopt_command.inspect_file.report import report
from tfopt_command.optimizer_text import parse

_SAME_SLOTS = {Adam, AdamW}  # whose state means the same


def main(arguments: argparse.Namespace) -> None:
    """Runs the command.

    Args:
        arguments: what `tfopt_command.convert_arguments` declares.

    Raises:
        SystemExit: with a text for the user, if the model cannot be converted.
    """
    if arguments.target.exists() and not arguments.overwrite:
        raise SystemExit(
            f"tfopt convert: `{arguments.target}` exists. Name another file, or pass --overwrite."
        )
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", TfoptWarning)
            _convert_file(arguments)
    except (ValueError, TypeError, ImportError) as error:
        raise SystemExit(f"tfopt convert: {error}") from error
    for warning in caught:
        if issubclass(warning.category, TfoptWarning):
            print(f"warning: {warning.message}")
    print(report(inspect_arguments.read(arguments.target)))


def _convert_file(arguments: argparse.Namespace) -> None:
    with current_folder.importable():
        for name in arguments.modules:
            importlib.import_module(name)
    library = _library_of(arguments.source)
    model = _load(library, arguments.source)
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        raise ValueError(f"`IN` must hold a compiled model; got {arguments.source}.")
    cls, given = _target(arguments.to, optimizer)
    if arguments.without_state:
        made = cls.from_config(given)
    else:
        converted = _converted(optimizer, model, cls, arguments.allow_different_formula)
        made = _with_class(converted, cls, given, model.trainable_variables)
    compiled = library.saving.deserialize_keras_object(model.get_compile_config())
    model.compile(**{**compiled, "optimizer": made})
    part = arguments.target.with_name(f".{arguments.target.stem}.part.keras")
    model.save(part)
    os.replace(part, arguments.target)


def _load(library: Any, path: Path) -> Any:
    try:
        return library.saving.load_model(path, safe_mode=True)
    except TypeError as error:  # a class that is not registered
        raise TypeError(
            "the model does not load. If a class of yours is missing, name its module by --import. "
            f"{library.__name__} says: {error}"
        ) from None


def _library_of(path: Path) -> Any:
    """Returns the library that wrote a file."""
    try:
        with zipfile.ZipFile(path) as archive:
            version = str(json.loads(archive.read("metadata.json"))["keras_version"])
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ValueError(f"`IN` must be a model in a .keras file; got {path}: {error}.") from None
    if not version.startswith("2."):
        return keras
    if tf_keras is None:
        raise ValueError(
            "`IN` was written by tf-keras, which is not installed: pip install tf-keras."
        )
    return tf_keras


def _target(text: str | None, optimizer: Any) -> tuple[type[Optimizer], dict[str, Any]]:
    """Returns the class to convert to, and its arguments."""
    if text is None:
        return _counterpart(optimizer), {}
    name, given = parse(text)
    try:
        return type(registry.get(name.removeprefix("tfopt."))), given
    except ValueError as error:
        raise ValueError(f"`--to` must name an optimizer of tfopt; got {text!r}: {error}") from None


def _counterpart(optimizer: Any) -> type[Optimizer]:
    """Returns the class of tfopt that an optimizer becomes by `tfopt.convert`."""
    if isinstance(optimizer, Optimizer):
        return type(optimizer)
    name = type(optimizer).__name__
    if name not in COUNTERPARTS:
        raise ValueError(
            f"tfopt has no optimizer that corresponds to {name}. Name one by --to, and pass "
            "--without-state to begin it at step 0."
        )
    return COUNTERPARTS[name].cls


def _converted(optimizer: Any, model: Any, cls: type[Optimizer], allow: bool) -> Any:
    """Returns the optimizer of tfopt with the state in the file; raises if `cls` cannot have it."""
    own = _counterpart(optimizer)
    if own is not cls and not {own, cls} <= _SAME_SLOTS:
        raise ValueError(
            f"tfopt.{cls.__name__} cannot continue from the state of {type(optimizer).__name__}, "
            f"whose slots mean something else. Convert to {own.__name__.lower()}, or pass "
            "--without-state to begin at step 0."
        )
    if isinstance(optimizer, Optimizer):
        optimizer.build(model.trainable_variables)
        return optimizer
    try:
        converted = convert(optimizer, _variables(optimizer, model), allow_different_formula=allow)
    except ValueError as error:
        text = str(error).replace(
            "Pass `allow_different_formula=True`", "Pass --allow-different-formula"
        )
        raise ValueError(text) from None
    return converted


def _variables(optimizer: Any, model: Any) -> Any:
    """Returns the variables, where `convert` needs them: optimizers of Keras 3 know theirs."""
    return None if isinstance(optimizer, keras.Optimizer) else model.trainable_variables


def _with_class(
    converted: Any, cls: type[Optimizer], given: Mapping[str, Any], variables: Any
) -> Any:
    """Returns an optimizer of a class, with other arguments and with the state of `converted`."""
    if type(converted) is cls and not given:
        return converted
    config = converted.get_config()
    if type(converted) is not cls:
        config["name"] = cls.__name__
        print(f"{cls.__name__} instead of {type(converted).__name__}: the state is carried over.")
    made = cls.from_config({**config, **given})
    if type(converted) is not cls:
        for name in sorted(made.get_config().keys() - config.keys() - given.keys()):
            print(f"New is {name}={made.get_config()[name]}, the default of {cls.__name__}.")
    for built in (converted, made):
        built.build(variables)
    old, new = converted.weights, made.weights
    if [tuple(w.shape) for w in old] != [tuple(w.shape) for w in new]:
        raise ValueError(
            f"`--to` must leave the slots as they are; {cls.__name__} with {dict(given)} has "
            "others. Pass --without-state to begin at step 0."
        )
    tf_variables.assign_all(list(zip(new, old, strict=True)))
    return made
