"""How the pages are built: `make docs`. Warnings are errors, and nothing is fetched by a reader.

`pages` makes the pages of optimizers, schedules and all else that is public.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.pop("MPLBACKEND", None)  # the pages' kernels show pictures inline
os.environ["JUPYTER_COLUMNS"] = "88"  # for rich's tables
sys.path.insert(0, str(Path(__file__).parent))

import matplotlib
from pages import accessible, autodoc_hooks, static_files, writing

import tfopt

matplotlib.use("agg")

project = "tfopt"
author = copyright = "the tfopt authors"
version = release = tfopt.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "myst_nb",
    "sphinx_copybutton",
    "sphinx_design",
    "tutorials",
]
exclude_patterns = ["_build"]
default_role = "literal"

html_theme = "furo"
html_title = f"tfopt {release}"
html_static_path = [str(static_files.STATIC)]
html_css_files = ["pages.css"]
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

autodoc_typehints = "none"  # what there is to say is under Args
autodoc_member_order = "bysource"
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_custom_sections = [
    "Dtypes",
    "Other libraries",
    "Slots",
    "Sparse gradients",
    "When to use",
]

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_output_stderr = "remove"  # TensorFlow logs there
nb_merge_streams = True

mathjax_path = "tex-svg.js"  # the one file of MathJax 3 that needs no font files
mathjax3_config = {"options": {"enableMenu": False}}


def setup(app) -> None:
    static_files.make_static()
    app.connect("builder-inited", writing.write_pages)
    app.connect("autodoc-process-signature", autodoc_hooks.shared_keywords)
    app.connect("autodoc-process-docstring", autodoc_hooks.dollar_math, priority=400)
    app.connect("autodoc-process-docstring", autodoc_hooks.summary_alone, priority=450)
    app.connect("env-check-consistency", autodoc_hooks.check_coverage)
    app.connect("html-page-context", accessible.complete, priority=900)
