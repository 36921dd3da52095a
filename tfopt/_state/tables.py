"""Copies of an object's tables, for going back to them when a change fails half way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def copied(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns copies of those attributes that are dicts, lists or frozensets, at any depth."""
    return {name: _copied(value) for name, value in attributes.items() if _is_table(value)}


def _is_table(value: Any) -> bool:
    return isinstance(value, dict | list | frozenset)


def _copied(table: Any) -> Any:
    if isinstance(table, dict):
        return {key: _copied(value) if _is_table(value) else value for key, value in table.items()}
    return [_copied(v) if _is_table(v) else v for v in table] if isinstance(table, list) else table
