"""Writes the first cell of each notebook, runs the notebooks, and keeps their outputs in the files.

    python colab/record.py                  # all notebooks
    python colab/record.py quickstart       # one
    python colab/record.py --first-cells    # only the cells that follow from pyproject.toml

The pages under Tutorials show the kept outputs, and `tests/notebooks_test.py` compares them with
what the notebooks give today. Run this after a change of a notebook or of what it prints, and look
at the pictures. `nbclient`, `ipykernel` and Matplotlib come with `pip install -e . --group test`.
"""

import argparse
import base64
import io
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
sys.path.append(str(ROOT / "tests"))

from check_texts import repository  # noqa: E402

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
COLUMNS = "88"  # the width of tables, as on the pages

# Packages that a notebook needs besides tfopt and what `tfopt[inspect]` brings.
PACKAGES = {
    "compare_fairly": ["scikit-learn"],
    "fine_tuning": ["scikit-learn"],
    "migrate": ["tf-keras"],
    "quickstart": ["scikit-learn"],
    "watch_your_optimizer": ["scikit-learn"],
    "write_an_optimizer": ["scikit-learn"],
}

INSTALL = """\
# Installs {what} and the packages that this notebook uses.
from pathlib import Path

here = Path.cwd()
checkouts = [path for path in (here, here.parent) if (path / "tfopt" / "__init__.py").exists()]
{source}
%pip install -q "{{source}}"{packages}"""

UNPUBLISHED = """\
if not checkouts:
    raise RuntimeError(
        "There is no tfopt to install. tfopt is not published yet, so this notebook installs it "
        "from the checkout that the notebook is in. Start Jupyter in the folder colab/ of a "
        "checkout or in the folder above it. If tfopt is installed already, skip this cell."
    )
source = f"{checkouts[0]}[inspect]\""""

PUBLISHED = """\
if checkouts:
    source = f"{{checkouts[0]}}[inspect]"
else:
    source = "tfopt[inspect] @ git+{address}\""""

GITHUB = re.compile(r"https://github\.com/[^/]+/[^/]+?(?=(?:\.git)?/?$)")


def published_at(pyproject=ROOT / "pyproject.toml"):
    """Returns the address of the repository, the setting `Repository`, or None if it is not set."""
    return repository(Path(pyproject).read_text())


def install_cell(name, address):
    """Returns the text of the first code cell of a notebook."""
    if address is None:
        what, source = "tfopt from the checkout that the notebook is in", UNPUBLISHED
    else:
        what, source = "tfopt", PUBLISHED.format(address=address)
    packages = "".join(f" {package}" for package in PACKAGES.get(name, ()))
    return INSTALL.format(what=what, source=source, packages=packages)


def colab_link(name, address):
    """Returns a link that opens a notebook in Colab, or None if the address is not at GitHub."""
    found = GITHUB.match(address or "")
    if not found:
        return None
    repository = found[0].replace("https://github.com/", "github/")
    url = f"https://colab.research.google.com/{repository}/blob/main/colab/{name}.ipynb"
    return f"[Run this notebook in Colab]({url})"


def with_first_cells(notebook, name, address):
    """Writes the install cell, and the link to Colab under the title; returns the notebook."""
    title, install = notebook.cells[:2]
    lines = [line for line in title.source.split("\n") if "colab.research.google.com" not in line]
    if link := colab_link(name, address):
        lines = [lines[0], "", link, *lines[1:]]
    title.source = re.sub(r"\n{3,}", "\n\n", "\n".join(lines))
    install.source = install_cell(name, address)
    install.metadata.tags = ["skip-execution", "hide-input"]
    return notebook


def run(notebook, folder, timeout=180):
    """Runs all cells but the first code cell in a folder; changes the outputs of the notebook."""
    from nbclient import NotebookClient

    settings = {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.getenv('PYTHONPATH', '')}",
        "CUDA_VISIBLE_DEVICES": "-1",  # outputs are those of a CPU
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "JUPYTER_COLUMNS": COLUMNS,
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    former = {key: os.environ.get(key) for key in settings}
    os.environ.update(settings)
    try:
        resources = {"metadata": {"path": str(folder)}}
        NotebookClient(
            notebook, timeout=timeout, resources=resources, record_timing=False
        ).execute()
    finally:
        for key, value in former.items():
            os.environ.pop(key, None)
            if value is not None:
                os.environ[key] = value
    return tidy(notebook)


def tidy(notebook):
    """Removes from the outputs what depends on the machine or says nothing."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        printed, others = [], []
        for output in cell.outputs:
            if output.output_type == "stream":
                printed += [output.text] if output.name == "stdout" else []  # no log lines
                continue
            if "execution_count" in output:
                output.execution_count = None
            output.metadata = {}
            if "image/png" in output.get("data", {}):
                output.data = {
                    "image/png": small_png(output.data["image/png"]),
                    "text/plain": "a picture",
                }
            others.append(output)
        text = "".join(printed)
        stream = [nbformat.v4.new_output("stream", name="stdout", text=text)] if text else []
        cell.outputs = stream + others
    return notebook


def small_png(encoded):
    """Returns a picture with 64 colours, which takes a third of the space of all colours."""
    from PIL import Image

    picture = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
    file = io.BytesIO()
    picture.quantize(64, dither=Image.Dither.NONE).save(file, "png", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def text_of(cell):
    """Returns what a cell printed and displayed as text."""
    texts = [
        output.text if output.output_type == "stream" else output.data.get("text/plain", "")
        for output in cell.get("outputs", ())
    ]
    return "\n".join(texts)


def machine_paths(notebook, folder):
    """Returns the folders of this machine that the outputs name."""
    text = "\n".join(map(text_of, notebook.cells))
    return [path for path in {str(folder), str(ROOT), str(Path.home()), sys.prefix} if path in text]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="notebooks without .ipynb; all if none is given")
    parser.add_argument("--first-cells", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    known = {path.stem: path for path in NOTEBOOKS}
    if unknown := set(arguments.names) - set(known):
        parser.error(f"there is no notebook {sorted(unknown)}; there are {sorted(known)}")
    for name in arguments.names or known:
        notebook = nbformat.read(known[name], 4)
        with_first_cells(notebook, name, published_at())
        if not arguments.first_cells:
            start = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                run(notebook, folder)
                if paths := machine_paths(notebook, folder):
                    sys.exit(f"{name}: the outputs name {paths}")
            print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
        nbformat.write(notebook, known[name])


if __name__ == "__main__":
    main()
