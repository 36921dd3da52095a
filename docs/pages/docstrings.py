"""What the docstrings of classes say, by section, as Markdown and as reStructuredText."""

import inspect
import re

SECTIONS = (
    "When to use",
    "Args",
    "Slots",
    "Sparse gradients",
    "Dtypes",
    "Other libraries",
    "Raises",
)


DOCTEST = re.compile(r"^(?:>>>|\.\.\.) .*\n(?:(?!$|>>>|\.\.\.).*\n)*", flags=re.M)


def split(cls) -> dict[str, str]:
    """The parts of a docstring by their titles.

    "Summary" is the first line, "Formula" what follows until the first section, "Source" what
    comes after the doctest. Continued lines keep their indentation.
    """
    text = inspect.getdoc(cls)
    summary, _, text = text.partition("\n\n")
    titles = "|".join(SECTIONS)
    found = re.split(rf"^({titles}):\n", text, flags=re.M)
    parts = {"Summary": " ".join(summary.split()), "Formula": found[0].strip()}
    for title, body in zip(found[1::2], found[2::2], strict=True):
        indented = re.match(r"(?:[ ]+.*\n|\n)*(?:[ ]+.*)?", body)[0]
        parts[title] = inspect.cleandoc("\n" + indented)
        if title == "When to use":
            parts[title] = " ".join(parts[title].split())
    rest = body[len(indented) :]  # of the last section
    source = re.sub(r"^Sources?: ", "", re.sub(DOCTEST, "", rest), flags=re.M)
    return parts | {"Source": source.strip()}


def entries(text: str) -> dict[str, str]:
    """The entries of a section, such as arguments: what stands before and after the colon."""
    found = re.findall(r"^(\S[^:\n]*): (.*(?:\n[ ]+.*)*)", text, flags=re.M)
    return {names: " ".join(what.split()) for names, what in found}


def one_sentence(text: str) -> str:
    """The first sentence of a text, which ends where the next one begins with a capital."""
    return re.split(r"(?<=\.) (?=[A-Z`])", text)[0]


def capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def cell(text: str) -> str:
    """A text for a cell of a table, where a bar would end the cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def linked(text: str, links: dict[str, str]) -> str:
    """Makes links of the names in backticks for which there is a page."""

    def link(match):
        return f"[`{match[1]}`]({links[match[1]]})" if match[1] in links else match[0]

    return re.sub(r"(?<!\[)`(\w+)`", link, text)


def short_lines(text: str) -> str:
    """Puts equations that stand side by side below each other, for narrow screens."""

    def gathered(match):
        lines = re.split(r",?\s*\\qquad\s*", match[1].strip())
        if len(lines) == 1:
            return match[0]
        return "$$\\begin{gathered}\n" + " \\\\\n".join(lines) + "\n\\end{gathered}$$"

    return re.sub(r"\$\$(.+?)\$\$", gathered, text, flags=re.S)
