"""Writes the pages that are made, those whose sources have changed."""

import hashlib
import os
from pathlib import Path

import matplotlib

from pages import optimizer_pages, pictures, reference_pages, schedule_pages

GENERATED = Path(__file__).parent.parent / "generated"
KINDS = {"": optimizer_pages, "schedules": schedule_pages, "reference": reference_pages}


def write_pages(app) -> None:
    """Makes the pages of optimizers, schedules and everything else that is public."""
    with matplotlib.rc_context(pictures.STYLE):
        for folder, kind in KINDS.items():
            _write(GENERATED / folder, kind)


def _write(folder, kind) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = {kind.name_of(each): each for each in kind.CLASSES}
    for stale in folder.glob("*.md"):
        if stale.stem not in names:
            os.remove(stale)
    for name, each in names.items():
        mark = f"\n<!-- made of {_hash(kind.sources(each))} -->\n"
        path = folder / f"{name}.md"
        if not path.exists() or not path.read_text().endswith(mark):
            path.write_text(kind.page(each, folder) + mark)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
