"""A Sphinx extension: puts the notebooks of `colab/` and a picture of each among the pages.

The pages show the outputs that `colab/record.py` has kept. Nothing is executed again.
"""

import base64
import json
from pathlib import Path

NOTEBOOKS = Path(__file__).resolve().parent.parent / "colab"
FOLDER = Path(__file__).parent / "tutorials"


def last_picture(notebook: dict) -> bytes | None:
    """Returns the last picture among the outputs of a notebook, as PNG."""
    pictures = [
        output["data"]["image/png"]
        for cell in notebook["cells"]
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", {})
    ]
    return base64.b64decode("".join(pictures[-1])) if pictures else None


def copy_notebooks(app) -> None:
    """Copies what has changed, so that Sphinx reads only that again."""
    wanted = {}
    for path in NOTEBOOKS.glob("*.ipynb"):
        wanted[FOLDER / path.name] = path.read_bytes()
        if picture := last_picture(json.loads(path.read_text())):
            wanted[FOLDER / f"{path.stem}.png"] = picture
    for path in {*FOLDER.glob("*.ipynb"), *FOLDER.glob("*.png")} - set(wanted):
        path.unlink()
    for path, content in wanted.items():
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)


def keep_outputs(app, config) -> None:
    config.nb_execution_excludepatterns = [*config.nb_execution_excludepatterns, "tutorials/*"]


def setup(app) -> None:
    app.connect("config-inited", keep_outputs, priority=1)  # before myst_nb reads it
    app.connect("builder-inited", copy_notebooks)
