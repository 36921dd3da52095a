"""The problem that `--problem module:function` names."""

from __future__ import annotations

import difflib
import functools
import importlib
from collections.abc import Callable
from typing import Any

from tfopt_command import current_folder


def problem_function(name: str) -> Callable[..., Any]:
    """Returns the function that `module:function` names, also from the current folder.

    Raises:
        ValueError: if there is no such module, or no such function in it.
    """
    module_name, colon, function_name = name.partition(":")
    if not colon or not module_name or not function_name:
        raise ValueError(f"`problem` must be module:function; got {name!r}.")
    try:
        with current_folder.importable():
            module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and f"{module_name}.".startswith(f"{error.name}."):
            where = "neither in the current folder nor among the installed packages"
            raise ValueError(
                f"`problem` must name a module that exists; got {name!r}: there is no module "
                f"{error.name!r}, {where}."
            ) from None
        raise ValueError(
            f"`problem` must name a module that can be imported; got {name!r}: it imports "
            f"{error.name!r}, which is not installed."
        ) from error
    try:
        function: Any = functools.reduce(getattr, function_name.split("."), module)
    except AttributeError:
        near = difflib.get_close_matches(function_name, vars(module), n=1)
        hint = f" Did you mean {module_name}:{near[0]}?" if near else ""
        raise ValueError(
            f"`problem` must name a function that exists; got {name!r}: the module {module_name!r} "
            f"has no {function_name!r}.{hint}"
        ) from None
    if not callable(function):
        raise ValueError(
            f"`problem` must name a function; got {name!r}, which is of type "
            f"{type(function).__name__}."
        )
    return function
