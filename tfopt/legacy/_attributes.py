"""Attributes that become hyperparameters when `_set_hyper` is called, as in OptimizerV2."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from tfopt.hyper import attribute

Class = TypeVar("Class", bound=type)


class _Free:
    """An attribute that becomes a hyperparameter when `_set_hyper` is called with its name.

    OptimizerV2 treats every attribute in this way. tfopt's other optimizers declare theirs.
    """

    def __init__(self, name: str, default: Any):
        self.name = name
        self.default = default

    def __get__(self, owner: Any, cls: type | None = None) -> Any:
        if owner is None:
            return self
        if self.name in owner._engine.hypers:
            return attribute(owner, self.name)
        return owner.__dict__.get(self.name, self.default)

    def __set__(self, owner: Any, value: Any) -> None:
        if self.name in owner._engine.hypers:
            owner._set_hyper(self.name, value)
        else:
            owner.__dict__[self.name] = value


def freed(cls: Class) -> Class:
    """Returns the class with attributes in place of declarations: `_set_hyper` decides."""
    for name, field in cls._declared.fields.items():  # type: ignore[attr-defined]
        setattr(cls, name, _Free(name, field.default))
    return cls


class HyperView(Mapping[str, Any]):
    """`_hyper`: each hyperparameter as OptimizerV2 holds it."""

    def __init__(self, owner: Any):
        self._owner = owner

    def __getitem__(self, name: str) -> Any:
        value = self._owner._engine.hypers[name]
        if value.source is not None:
            return value.source
        return value.number if value.variable is None else value.variable

    def __setitem__(self, name: str, value: Any) -> None:
        self._owner._set_hyper(name, value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._owner._engine.hypers)

    def __len__(self) -> int:
        return len(self._owner._engine.hypers)
