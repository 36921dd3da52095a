"""Tables of an optimizer's arguments: type, default, range and a sentence for each."""

import re

import tfopt
from pages import docstrings

# The keywords that policies read by themselves: type and default.
LISTS = {
    "exclude_from_weight_decay": ("list or None", "`None`"),
    "groups": ("dict, list or None", "`None`"),
    "roles": ("dict or None", "`None`"),
    "inner_optimizer": ("optimizer, name or config", "required"),
    "name": ("str", "the class name"),
    "lr": ("as `learning_rate`", ""),
}


WORDS = {
    "ScalarOrSchedule": "number",
    "Callable[..., Any]": "function",
    "Sequence[function]": "list of functions",
    "Sequence[str]": "list of str",
}


def type_of(field) -> str:
    """The type of an argument in words."""
    text = field.annotation
    for annotation, words in WORDS.items():
        text = text.replace(annotation, words)
    text = re.sub(r"Literal\[(.*?)\]", lambda match: match[1].replace(", ", " | "), text)
    return text.replace(" | ", " or ")


def range_of(field) -> str:
    """The range of a number as an interval, or as one bound."""
    bounds = dict(text.split() for *_, text in field.rules)
    low, high = bounds.get(">=", bounds.get(">")), bounds.get("<=", bounds.get("<"))
    if low is not None and high is not None:
        return f"{'[' if '>=' in bounds else '('}{low}, {high}{']' if '<=' in bounds else ')'}"
    for sign, shown in ((">=", "≥"), (">", ">"), ("<=", "≤"), ("<", "<")):
        if sign in bounds:
            return f"{shown} {bounds[sign]}"
    return ""


def default_of(field) -> str:
    default = field.default
    is_number = isinstance(default, float) and not isinstance(default, bool)
    return f"`{default:g}`" if is_number else f"`{default!r}`"


def own(cls) -> list[str]:
    """The names of a class's own arguments, in the order of its constructor."""
    first = ["inner_optimizer"] if issubclass(cls, tfopt.Wrapper) else []
    named = [*first, *(name for name in cls._positional if name != "inner_optimizer")]
    return [*named, *(n for n in documented(cls) if n not in named and n in cls._declared.fields)]


def shared(cls) -> list[str]:
    """The names of the keywords that all optimizers have, and that this one takes."""
    mine = set(own(cls))
    taken = [n for n in documented(tfopt.Optimizer) if n not in mine]
    other = set(cls._declared.aliases) - {"lr"}  # Nadam has another `decay`
    return [n for n in taken if n not in other and (n != "roles" or cls.roles)]


def documented(cls) -> dict[str, str]:
    """What a docstring says of each argument."""
    return docstrings.entries(docstrings.split(cls)["Args"])


def table(cls, names, says, links) -> str:
    """A table of arguments in Markdown."""
    fields = cls._declared.fields
    rows = []
    for name in names:
        if name in fields:
            field = fields[name]
            known = (type_of(field), default_of(field), range_of(field))
        else:
            known = (*LISTS[name], "")
        text = docstrings.linked(docstrings.capitalized(says[name]), links)
        rows.append(" | ".join(map(docstrings.cell, (f"`{name}`", *known, text))))
    head = ["argument | type | default | range | what it does", "--- | --- | --- | --- | ---"]
    lines = "\n".join(f"| {row} |" for row in [*head, *rows])
    return f":::::{{container}} arguments\n{lines}\n:::::"
