"""A page for each public class and function that is neither an optimizer nor a schedule."""

import inspect
from pathlib import Path

import tfopt.compare
from pages import schedule_pages
from pages.examples import CLASSES as OPTIMIZERS

MODULES = (
    tfopt,
    tfopt.groups,
    tfopt.evaluation,
    tfopt.functional,
    tfopt.inspect,
    tfopt.compare,
    tfopt.schedules,
    tfopt.initializers,
)
# The members that a page shows, where it does not show all of them.
MEMBERS = {
    "tfopt.LossScaleOptimizer": "scale_loss, get_scaled_loss, get_unscaled_gradients, minimize, "
    "apply_gradients",
    "tfopt.MultiOptimizer": "optimizers",
    "tfopt.Wrapper": "inner_optimizer",
    "tfopt.functional.State": None,
}
TOP_WITHOUT_MEMBERS = {"tfopt.Hyper", "tfopt.Static", "tfopt.Alias", "tfopt.OptimizerMap"}


def public(module) -> dict:
    """The public classes and functions of a module by their full names."""
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
    ]
    found = {name: getattr(module, name) for name in names}
    return {
        f"{module.__name__}.{value.__name__ if inspect.isclass(value) else name}": value
        for name, value in found.items()
        if not inspect.ismodule(value)
    }


PUBLIC = {name: value for module in MODULES for name, value in public(module).items()}
# The keywords and methods of all optimizers have pages that are written by hand.
ELSEWHERE = [tfopt.Optimizer, *OPTIMIZERS, *schedule_pages.CLASSES]
CLASSES = [name for name, value in PUBLIC.items() if value not in ELSEWHERE]


def name_of(name) -> str:
    """The name of a page's file."""
    return name


def page(name, folder) -> str:
    """The page as Markdown."""
    what = "class" if inspect.isclass(PUBLIC[name]) else "function"
    lines = [f".. auto{what}:: {name}"]
    if what == "class" and name not in TOP_WITHOUT_MEMBERS:
        members = MEMBERS.get(name, "")
        lines.append("   :no-members:" if members is None else f"   :members: {members}".rstrip())
    body = "\n".join(lines)
    return f"# {name}\n\n```{{eval-rst}}\n{body}\n```\n"


def sources(name) -> str:
    """The text of all that a page is made of: Sphinx itself looks at docstrings."""
    return Path(__file__).read_text()
