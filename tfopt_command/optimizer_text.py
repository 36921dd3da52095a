"""Optimizers as text, such as `sgd,learning_rate=0.1`, and sweeps over their arguments."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_RULE = (
    "an optimizer must be like sgd,learning_rate=0.1 with numbers, True, False, None, quoted "
    "text or lists as arguments"
)


class OptimizerText(NamedTuple):
    """What a text says: the name of an optimizer, and its arguments."""

    name: str
    arguments: dict[str, Any]

    def __str__(self) -> str:
        """Returns the text that `parse` reads."""
        return ",".join([self.name, *(f"{n}={value!r}" for n, value in self.arguments.items())])


class Setting(NamedTuple):
    """One optimizer of a sweep.

    Attributes:
        text: the optimizer, without lists of numbers.
        group: the optimizer without the swept arguments: the same for all of one sweep.
        swept: the values of the swept arguments here.
    """

    text: str
    group: str
    swept: dict[str, float]


def parse(text: str) -> OptimizerText:
    """Returns the name and the arguments of a text.

    Raises:
        ValueError: if the text is not like `sgd,learning_rate=0.1`.
    """
    name, _, rest = text.partition(",")
    try:
        call = ast.parse(f"_({rest})", mode="eval").body
    except (SyntaxError, ValueError):
        raise ValueError(f"{_RULE}; got {rest!r} in {text!r}.") from None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise ValueError(f"{_RULE}; got {rest!r} in {text!r}.")
    for wrong in call.args:
        raise ValueError(f"{_RULE}; got {ast.unparse(wrong)!r} in {text!r}.")
    arguments: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg is None or keyword.arg in arguments:
            raise ValueError(f"{_RULE}, each once; got {ast.unparse(keyword)!r} in {text!r}.")
        try:
            arguments[keyword.arg] = ast.literal_eval(keyword.value)
        except ValueError:
            raise ValueError(f"{_RULE}; got {ast.unparse(keyword)!r} in {text!r}.") from None
    return OptimizerText(name.strip(), arguments)


def parse_sweep(text: str) -> tuple[str, list[float]]:
    """Returns the argument and the values of `learning_rate=1e-4,3e-4,1e-3`.

    Raises:
        ValueError: if the text is not like that.
    """
    name, _, values = text.partition("=")
    try:
        numbers = ast.literal_eval(f"[{values}]")
    except (SyntaxError, ValueError):
        numbers = []
    if not name.isidentifier() or not _is_sweep(numbers):
        raise ValueError(
            "a sweep must be like learning_rate=1e-4,3e-4,1e-3 with different numbers; "
            f"got {text!r}."
        )
    return name, numbers


def with_sweeps(texts: Sequence[str], sweeps: Mapping[str, Sequence[float]]) -> list[str]:
    """Adds sweeps to each optimizer that does not state the argument itself."""
    parsed = [parse(text) for text in texts]
    lists = {name: list(values) for name, values in sweeps.items()}
    return [str(OptimizerText(name, {**lists, **arguments})) for name, arguments in parsed]


def expand(text: str) -> list[Setting]:
    """Returns a setting for each combination of the numbers that a text has in lists.

    >>> from tfopt_command.optimizer_text import expand
    >>> [setting.text for setting in expand("sgd,learning_rate=[0.1,0.3],momentum=0.9")]
    ['sgd,learning_rate=0.1,momentum=0.9', 'sgd,learning_rate=0.3,momentum=0.9']
    """
    name, arguments = parse(text)
    lists = {n: value for n, value in arguments.items() if _is_sweep(value)}
    if not lists:
        return [Setting(text, text, {})]
    group = str(OptimizerText(name, {n: v for n, v in arguments.items() if n not in lists}))
    settings = []
    for values in itertools.product(*lists.values()):
        swept = dict(zip(lists, values, strict=True))
        settings.append(Setting(str(OptimizerText(name, {**arguments, **swept})), group, swept))
    return settings


def _is_sweep(value: Any) -> bool:
    """True for a list of different numbers: other lists, such as patterns, are one argument."""
    if not isinstance(value, list) or not value or len(set(map(repr, value))) != len(value):
        return False
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
