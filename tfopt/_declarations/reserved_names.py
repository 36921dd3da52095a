"""Names that an optimizer of a user's cannot have, since every optimizer has them already."""

from __future__ import annotations

import inspect
from typing import Any

from tfopt._declarations.collect import Declarations
from tfopt.hyper import Alias, Hyper, Static

_KINDS = Hyper | Static | Alias
_OF_H = {"t": "the number of the step", "role": "the role of the variable"}


def check(cls: Any, base: type, declared: Declarations) -> None:
    """Raises if a class of a user's redefines what tfopt needs, or declares what it has already.

    A shared keyword may be declared anew to give it another default.

    Args:
        cls: the class.
        base: the base of all optimizers.
        declared: what the class declares.
    """
    for name, attribute in vars(cls).items():
        if name in declared.reserved:
            raise is_reserved(cls, name)
        why = _clash(cls, base, declared, name) if isinstance(attribute, _KINDS) else ""
        if why:
            raise AttributeError(f"{cls.__name__} cannot declare `{name}`: {why}.")


def is_reserved(cls: type, name: str) -> AttributeError:
    """Returns the error for a name that tfopt uses for itself."""
    return AttributeError(
        f"{cls.__name__} cannot have a `{name}` of its own: tfopt uses that name for itself. "
        "Rename it."
    )


def _clash(cls: Any, base: type, declared: Declarations, name: str) -> str:
    """Says why a class cannot declare a name; empty if it can."""
    if name in _OF_H:
        return f"`h.{name}` is {_OF_H[name]}; choose another name"
    definer = next((each for each in cls.__mro__[1:] if name in vars(each)), None)
    if name in declared.common and isinstance(vars(definer).get(name), _KINDS):
        return _clash_of_keyword(cls, name, vars(definer)[name])
    theirs = None if definer not in base.__mro__ else inspect.getattr_static(base, name)
    # Declarations may take the place of others, of `learning_rate`, and of what tfopt lacks.
    if theirs is None or isinstance(theirs, _KINDS) or hasattr(theirs, "error"):
        return ""
    if name == "learning_rate":
        return ""
    return f"`{name}` is an attribute of every optimizer; choose another name"


def _clash_of_keyword(cls: Any, name: str, before: Any) -> str:
    """Says why a class cannot declare a keyword that all optimizers share."""
    shared, now = f"`{name}` is a keyword of every optimizer", vars(cls)[name]
    if name == "cautious" and not cls.can_be_cautious:
        return f"{shared}; declare `can_be_cautious = True` to allow it"
    if name == "decay":
        return (
            f"{shared}: the learning rate is divided by 1 + decay * iterations; choose another name"
        )
    if type(now) is not type(before):
        kind = type(before).__name__
        return f"{shared}; choose another name, or declare it as a {kind} to give it a default"
    if now.default == before.default:
        return f"{shared}; leave the declaration out, or choose another name"
    return ""
