"""What was found in a file, as text for a person."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from tfopt_command.inspect_file.found import Array, FoundFile, FoundOptimizer

_POLICIES = {  # by a slot of tfopt or Keras that only this policy has
    "ema_average": "exponential moving average",
    "model_variables_moving_average": "exponential moving average",
    "accumulated_gradient": "gradient accumulation",
    "accumulated_gradients": "gradient accumulation",
    "master_weight": "master weights",
}


def report(file: FoundFile) -> str:
    """Returns the lines to print."""
    lines = [file.path, *_pairs([("format", file.format)])]
    if not file.optimizers:
        lines += _pairs([("optimizer", "none: the file has neither a config nor state of one")])
    for found in file.optimizers:
        lines += ["", *_of_optimizer(found, with_place=len(file.optimizers) > 1)]
    return "\n".join(lines)


def _of_optimizer(found: FoundOptimizer, with_place: bool) -> list[str]:
    not_said = "the format does not say"
    pairs = [("optimizer", found.optimizer or not_said)]
    if with_place:
        pairs.insert(0, ("in", found.where))
    if found.step is not None:
        pairs.append(("step", f"{found.step:,}"))
    if found.learning_rate is not None:
        pairs.append(("learning rate", str(found.learning_rate)))
    if found.hyperparameters:
        pairs.append(("hyperparameters", _listed(found.hyperparameters)))
    policies = _listed(found.policies)
    if not found.has_config:
        policies = ", ".join(filter(None, [policies, *_policies_of_slots(found.slots)]))
    if policies or found.has_config:
        pairs.append(("policies", policies or "none"))
    if found.scalars:
        pairs.append(("other state", _listed(found.scalars)))
    total = sum(array.bytes for array in found.slots)
    pairs.append(("slots", f"{len(found.slots)} arrays, {_bytes(total)}" if total else "none"))
    return [*_pairs(pairs), *_slot_table(found.slots), *(f"  {note}" for note in found.notes)]


def _policies_of_slots(arrays: Sequence[Array]) -> list[str]:
    """Returns the policies that the slots tell of, for formats that have no config."""
    names = {array.slot for array in arrays}
    return [policy for slot, policy in _POLICIES.items() if any(n.endswith(slot) for n in names)]


def _pairs(pairs: Iterable[tuple[str, str]]) -> list[str]:
    return [f"  {name:<17}{value}" for name, value in pairs]


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _slot_table(arrays: Sequence[Array]) -> list[str]:
    """Returns a line for each slot and dtype: how many arrays, numbers and bytes."""
    groups: dict[tuple[str, str], list[Array]] = {}
    for array in arrays:
        groups.setdefault((array.slot, array.dtype), []).append(array)
    if not groups:
        return []
    rows = [("slot", "dtype", "arrays", "numbers", "bytes")]
    for (slot, dtype), members in groups.items():
        numbers, size = (sum(getattr(a, n) for a in members) for n in ("size", "bytes"))
        rows.append((slot or "(no name)", dtype, str(len(members)), f"{numbers:,}", _bytes(size)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    form = "    {:<{}}  {:<{}}  {:>{}}  {:>{}}  {:>{}}"
    return [form.format(*itertools.chain(*zip(row, widths, strict=True))) for row in rows]


def _bytes(number: int) -> str:
    size, unit = float(number), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{number} B" if unit == "B" else f"{size:.1f} {unit}"
