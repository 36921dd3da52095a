"""Roles: which part of a model each variable is, for optimizers that treat parts differently."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfopt._engine.engine import Engine
from tfopt._engine.members import Members, as_entries, pairs
from tfopt._engine.policy import Policy
from tfopt._engine.rules import Rule

KEYWORD = "roles"


class Roles(Policy):
    """Gives variables other roles than those that the optimizer chooses by itself."""

    keywords = {KEYWORD: "Mapping[Any, str] | Sequence[Any] | None"}

    @classmethod
    def is_used_by(cls, engine: Engine) -> bool:
        """Returns False: it takes no part in a step of its own."""
        return False

    @classmethod
    def configure(cls, engine: Engine, values: Mapping[str, Any]) -> None:
        """Makes a rule of each pair of members and role that the constructor was given."""
        roles, name = tuple(engine.optimizer.roles), type(engine.optimizer).__name__
        for entries, role in pairs(values.get(KEYWORD), KEYWORD, "roles"):
            if not roles:
                raise ValueError(
                    f"`{KEYWORD}` must be None: {name} treats all variables alike; got {role!r}."
                )
            if role not in roles:
                raise ValueError(
                    f"`{KEYWORD}` of {name} must be among {', '.join(map(repr, roles))}; "
                    f"got {role!r}."
                )
            members = Members(KEYWORD, as_entries(entries))
            engine.groups.add(Rule(members, owner=cls, partition=KEYWORD, role=role))

    @classmethod
    def config(cls, engine: Engine) -> dict[str, Any]:
        """Returns the roles that were given, for `get_config`."""
        seen = engine.groups.seen()
        given = [
            {"members": rule.members.config(seen), "role": rule.role}
            for rule in engine.groups.rules_of(cls)
        ]
        return {KEYWORD: given} if given else {}
