"""Finds words that may not come back, and addresses at which tfopt is not published.

    python tests/check_texts.py              # the texts of this checkout
    python tests/check_texts.py dist/*.whl   # the README in the metadata of a wheel

tfopt is published at the address under `Repository` in the table `[project.urls]` of
pyproject.toml. While that table is absent, no text may name an address or a package index.
"""

import re
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXTS = ["*.md", "*.toml", "*.cff", ".github/**/*", "docs/**/*.md", "docs/*.py", "colab/*"]
TEXTS += ["tfopt*/**/*.py", "tfopt*/**/*.pyi"]
MADE = ["docs/_build", "docs/generated"]  # from other texts

# What a sentence may not say, and what it says instead.
WORDS = {
    r"\bKerases\b": "Keras 3 and tf-keras",
    r"\bfor ever\b": "permanently",
    r"\bbeside\b": "next to",
    r"\b[Hh]ence\b": "so",
    r"\bnot offered\b": "not supported",
    r"\bshall\b": "must, should or will",
    r"\b(?:[Ww]hence|[Ww]hilst|[Tt]hereof|[Tt]herein|[Tt]hereby|[Ww]herein)\b": "a plain word",
    r"^#+ (?:Averages|Sums|Policies of a step|Look at one)$": "a title that people search for",
    r"\bones that are\b": "the noun",
}
EXTRAS = "gpu|keras2|inspect|demo|bench|test|peers|docs|lint|release"
INDEX = re.compile(
    # `tfopt[inspect]` alone is the name of an extra, and an address may follow it.
    rf"\btfopt\[(?:{EXTRAS})\](?! @|`)"
    r"|\b(?:pip3?|uv|poetry|conda|pixi) (?:install|add)(?: -\S+)* [\"']?tfopt\b"
    r"(?![/.@-]|\[[^]]*\] @)"
    r"|\bpypi\.org/(?:project|p)/tfopt\b|\banaconda\.org/\S*tfopt\b"
)
ADDRESS = re.compile(
    r"git\+[^\s\"'`<>)\]]+"
    r"|https?://colab\.research\.google\.com/[^\s\"'`<>)\]]+"
    r"|https?://[^\s\"'`<>)\]]*\btfopt\b[^\s\"'`<>)\]]*",
    re.IGNORECASE,
)


def repository(pyproject: str) -> str | None:
    """Returns the address at which tfopt is published, from the text of pyproject.toml."""
    table = re.search(r"^\[project\.urls\]\n((?:(?!\[).*\n?)*)", pyproject, flags=re.M)
    address = table and re.search(r'^Repository\s*=\s*"([^"]+)"', table[1], flags=re.M)
    return address[1].removesuffix("/") if address else None


def faults(text: str, published_at: str | None) -> list[str]:
    """Returns what must change in a text, each with its line."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        for word, better in WORDS.items():
            if match := re.search(word, line):
                found.append(f"{number}: `{match[0]}`: write {better}")
        if published_at is None and (match := INDEX.search(line)):
            found.append(f"{number}: `{match[0]}`: no package index has tfopt yet")
        for address in ADDRESS.findall(line):
            if "{" in address:  # code fills it in
                continue
            # Colab names a repository by its path: colab.research.google.com/github/OWNER/NAME
            path = published_at and re.sub(r"https?://(www\.)?github\.com", "", published_at)
            if not path or not re.search(re.escape(path) + r"(?![\w-])", address):
                found.append(f"{number}: `{address}`: pyproject.toml says {published_at}")
    return found


def texts() -> list[Path]:
    """Returns the files with sentences that a user reads."""
    files = {path for pattern in TEXTS for path in ROOT.glob(pattern) if path.is_file()}
    made = {path for path in files for folder in MADE if path.is_relative_to(ROOT / folder)}
    return sorted(path for path in files - made if path.suffix not in {".pyc", ".png"})


def faults_of_checkout() -> list[str]:
    """Returns what must change in the texts, each with its file and line."""
    published_at = repository((ROOT / "pyproject.toml").read_text())
    return [
        f"{path.relative_to(ROOT)}:{fault}"
        for path in texts()
        for fault in faults(path.read_text(encoding="utf-8"), published_at)
    ]


def faults_of_wheel(wheel: str) -> list[str]:
    """Returns the links in a wheel's README that do not open outside of a checkout."""
    with zipfile.ZipFile(wheel) as files:
        [name] = [name for name in files.namelist() if name.endswith(".dist-info/METADATA")]
        readme = message_from_bytes(files.read(name)).get_payload(decode=True).decode()
    links = re.findall(r"\]\(([^)]*)\)", re.sub(r"```.*?```", "", readme, flags=re.S))
    return [f"{wheel}: {link}" for link in links if not link.startswith("https://")]


def main() -> int:
    """Prints what must change."""
    wheels = sys.argv[1:]
    if wheels:
        found = [fault for wheel in wheels for fault in faults_of_wheel(wheel)]
    else:
        found = faults_of_checkout()
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
