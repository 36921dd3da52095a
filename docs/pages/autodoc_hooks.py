"""What Sphinx' autodoc makes of docstrings, and whether all public names have a page."""

import re

from sphinx.util import logging

import tfopt
from pages import examples, reference_pages

ON_PAGES = {f"tfopt.{cls.__name__}" for cls in examples.CLASSES}


def dollar_math(app, what, name, obj, options, lines) -> None:
    """Makes reStructuredText of the formulas in docstrings, which are between dollars."""
    text = "\n".join(lines)

    def display(match):
        body = "\n".join(f"{match[1]}   {line.strip()}" for line in match[2].strip().splitlines())
        return f"{match[1]}.. math::\n\n{body}\n"

    text = re.sub(r"^([ ]*)\$\$(.+?)\$\$[ ]*$", display, text, flags=re.M | re.S)
    text = re.sub(
        r"(?<![\\$`])\$([^$\n]+(?:\n[^$\n]+)?)\$(?!\$)",
        lambda match: f":math:`{' '.join(match[1].split())}`",
        text,
    )
    lines[:] = text.split("\n")


def summary_alone(app, what, name, obj, options, lines) -> None:
    """Leaves the summary of an optimizer's docstring: its page shows the rest by itself."""
    if name in ON_PAGES:
        lines[:] = [*lines[: lines.index("")], ""]


def shared_keywords(app, what, name, obj, options, signature, annotation):
    """Leaves the keywords that all optimizers share to the tables of their pages."""
    if what == "class" and issubclass(obj, tfopt.Optimizer) and obj is not tfopt.Optimizer:
        return signature.split("*, ")[0] + "**kwargs)", annotation
    return None


def check_coverage(app, env) -> None:
    """Warns of public names that no page documents; other names of a class need no page."""
    documented = set(env.domaindata["py"]["objects"])
    for name in sorted(set(reference_pages.PUBLIC) - documented):
        logging.getLogger(__name__).warning("%s is public, and on no page", name)
