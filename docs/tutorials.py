"""A Sphinx extension: puts the notebooks of `colab/` among the pages.

The pages show the outputs that `colab/record.py` has kept. Nothing is executed again.
"""

from pathlib import Path

NOTEBOOKS = Path(__file__).resolve().parent.parent / "colab"
FOLDER = Path(__file__).parent / "tutorials"


def copy_notebooks(app) -> None:
    """Copies what has changed, so that Sphinx reads only that again."""
    wanted = {FOLDER / path.name: path.read_bytes() for path in NOTEBOOKS.glob("*.ipynb")}
    for path in set(FOLDER.glob("*.ipynb")) - set(wanted):
        path.unlink()
    for path, content in wanted.items():
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)


def link_copies(app, page, source) -> None:
    """In a checkout the links of the page open the notebooks in `colab/`; here they open pages."""
    if page == "tutorials/index":
        source[0] = source[0].replace("](../../colab/", "](")


def keep_outputs(app, config) -> None:
    config.nb_execution_excludepatterns = [*config.nb_execution_excludepatterns, "tutorials/*"]


def setup(app) -> None:
    app.connect("config-inited", keep_outputs, priority=1)  # before myst_nb reads it
    app.connect("builder-inited", copy_notebooks)
    app.connect("source-read", link_copies)
