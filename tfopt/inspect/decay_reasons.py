"""Why weight decay does not move a variable."""

from __future__ import annotations

from tfopt._engine.variable_groups import Group, Seen
from tfopt._state.hyperparameters import Value
from tfopt.optimizer import Optimizer

NAME = "weight_decay"


def why_undecayed(optimizer: Optimizer, known: Seen) -> str:
    """Returns why weight decay does not move a variable; "" if it does.

    Args:
        optimizer: the optimizer.
        known: what its engine knows of the variable.
    """
    part, optimizer_of_part, role = optimizer._engine.part(known.role)
    if optimizer_of_part.decays is None:
        return f"{type(optimizer_of_part).__name__} has no weight decay"
    if not optimizer_of_part.uses(NAME):
        return f"{NAME} is not set"
    for rule in known.group:
        if NAME in rule.off and (not part or rule.part in (None, part)):
            entry = rule.members.entry_of(known.original)
            return f"excluded by {entry}" if entry else "excluded"
    if role in optimizer_of_part.roles_without_decay:
        return f"its role is {role!r}"
    own = _numbers_of_group(optimizer, known.group)
    if any(_is_0(number) for number, _ in own):
        return f"{NAME} is 0 in its group"
    replaced = any(is_value for _, is_value in own)
    if not replaced and _is_0(optimizer_of_part._engine.hypers[NAME]):
        return f"{NAME} is 0"
    return ""


def _numbers_of_group(optimizer: Optimizer, group: Group) -> list[tuple[Value, bool]]:
    """Returns the weight decays of a group, and whether each is a value rather than a factor."""
    return [
        (optimizer._engine.hypers[rule.names[name]], what == "value")
        for rule in group
        for name, (base, what, _) in rule.numbers.items()
        if base.rpartition(".")[2] == NAME
    ]


def _is_0(number: Value) -> bool:
    return number.source is None and number.config() == 0
