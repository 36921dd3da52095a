"""The files that pages load: MathJax, which comes with a Python package, and the style sheet."""

import importlib.util
import shutil
from pathlib import Path

STATIC = Path(__file__).parent.parent / "_build" / "static"


def make_static() -> None:
    """Puts them where Sphinx finds them."""
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    STATIC.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(spec.origin).parent / "static" / "mathjax" / "tex-svg.js", STATIC)
    shutil.copy(Path(__file__).with_name("pages.css"), STATIC)
