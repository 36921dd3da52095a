"""How the pages are built: `make docs`. Warnings are errors, and nothing is fetched by a reader."""

import hashlib
import importlib.util
import inspect
import os
import re
import shutil
import sys
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.pop("MPLBACKEND", None)  # the pages' kernels show pictures inline
os.environ["JUPYTER_COLUMNS"] = "88"  # for rich's tables

import matplotlib
import tensorflow as tf
from matplotlib import pyplot
from sphinx.util import logging

import tfopt
import tfopt.compare

matplotlib.use("agg")
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # for extensions that are ours
GENERATED = HERE / "generated"  # a page and a picture for each optimizer
STATIC = HERE / "_build" / "static"

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
html_static_path = [str(STATIC)]
html_css_files = ["tables.css"]
TABLES = ".cell_output pre { font-size: 75%; line-height: 1.3 }"  # rich's, 88 characters wide
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

autodoc_typehints = "none"  # what there is to say is under Args
autodoc_member_order = "bysource"
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_custom_sections = ["Slots", "Sparse gradients", "Dtypes"]

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_output_stderr = "remove"  # TensorFlow logs there
nb_merge_streams = True

mathjax_path = "tex-svg.js"  # the one file of MathJax 3 that needs no font files
mathjax3_config = {"options": {"enableMenu": False}}


def make_static() -> None:
    """Puts MathJax, which comes with a Python package, and a style among the static files."""
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    folder = Path(spec.origin).parent / "static" / "mathjax"
    STATIC.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "tex-svg.js", STATIC)
    (STATIC / "tables.css").write_text(TABLES)


# --- a page for each optimizer --------------------------------------------------------------------


def banana(x, y):
    """Rosenbrock's function, with a valley less steep."""
    return (1 - x) ** 2 + 10 * (y - x * x) ** 2


START, STEPS, BOUNDS = (-1.5, 1.5), 100, (-2.0, 2.0, -0.75, 2.75)
RATES = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0]


# What two parameters need to show of an optimizer what a model would.
PICTURED = {
    "LARS": {"roles": {".*": "adapted"}, "trust_coefficient": 0.1},
    "Muon": {"roles": {".*": "matrix"}},
    "ConditionalGradient": {"lambda_": 3.0},
}
KEEPS = [0.7, 0.8, 0.9, 0.95, 0.97, 0.99]  # of ConditionalGradient, where a large one is small
ALPHAS = [1.0, 3.0, 10.0, 30.0, 100.0, 300.0]  # of COCOB, which needs no learning rate


def dial(cls):
    """The number that a picture turns, and its values."""
    if cls is tfopt.ConditionalGradient:
        return "learning_rate", KEEPS
    return ("alpha", ALPHAS) if cls is tfopt.COCOB else ("learning_rate", RATES)


def make(cls, **numbers):
    """An optimizer as pages show it; one that needs another is around SGD with momentum."""
    if issubclass(cls, tfopt.Wrapper):
        return cls(tfopt.SGD(**numbers, momentum=0.9))
    return cls(**numbers)


def picture(cls, path) -> str:
    """Draws the paths of an optimizer at three values of its dial; gives the best of all."""
    name, values = dial(cls)

    def at_value(value):
        return make(cls, **{name: value}, **PICTURED.get(cls.__name__, {}))

    def end(value):
        points = tfopt.inspect.trajectory(at_value(value), banana, START, STEPS)
        loss = float(banana(*points[-1]))
        return loss if loss == loss else float("inf")

    ends = {value: end(value) for value in values}
    best = min(ends, key=ends.get)
    at = values.index(best)
    shown = [value for value in values[max(0, at - 1) : at + 2]]
    figure, axes = pyplot.subplots(figsize=(6.4, 4.2), layout="constrained")
    tfopt.inspect.plot_trajectories(
        {f"{name}={value}": at_value(value) for value in shown},
        banana,
        START,
        steps=STEPS,
        bounds=BOUNDS,
        ax=axes,
    )
    axes.plot(1, 1, "kx")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return f"{best:g}"


def page(cls) -> str:
    """The page of an optimizer: its docstring, a table of facts, a picture."""
    name = cls.__name__
    best = picture(cls, GENERATED / f"{name}.svg")
    turned, values = dial(cls)
    options = ", ".join(f"{n}={v!r}" for n, v in PICTURED.get(name, {}).items())
    more = f" The optimizer has `{options}` here, for two parameters." if options else ""
    more += " It is around `SGD` with momentum 0.9." if issubclass(cls, tfopt.Wrapper) else ""
    shown = f"""
## A path

{STEPS} steps on $(1-x)^2 + 10\\,(y-x^2)^2$ from the star; the least is at the cross.
Of {len(values)} values of `{turned}` from {values[0]} to {values[-1]:g}, {best} came lowest; its
neighbours are beside it.{more} Two parameters tell little of a million: this shows how the
optimizer moves, not how good it is.

```{{image}} {name}.svg
:alt: Paths of {name} on Rosenbrock's function
:width: 100%
```
"""
    return f"""# {name}

```{{eval-rst}}
.. autoclass:: tfopt.{name}
```
{shown}
## In short

{facts(cls)}
"""


def from_table(name, column) -> str:
    """What the table of `optimizers.md` says of an optimizer."""
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (HERE / "optimizers.md").read_text().splitlines()
        if line.startswith("|")
    ]
    [row] = [line for line in lines if line[0] == f"`{name}`"]
    return row[lines[0].index(column)]


def recorded(name) -> str:
    """The packages whose recorded steps an optimizer repeats, from the table of the traces."""
    lines = (HERE.parent / "tests" / "oracles" / "README.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    of, package, version = map(rows[0].index, ("optimizer of tfopt", "package", "version"))
    return ", ".join(sorted({f"{r[package]} {r[version]}" for r in rows if r[of] == name}))


def facts(cls) -> str:
    matrix = tf.Variable(tf.zeros([4, 3]), name="matrix")
    optimizer = make(cls)
    [row] = tfopt.inspect.describe(optimizer, [matrix])
    differs = from_table(cls.__name__, "differs from Keras 3")
    rows = {
        "slots of a matrix of 4 × 3": ", ".join(
            f"`{slot}` {' × '.join(map(str, shape)) or 'scalar'}"
            for slot, shape in row.slots.items()
        )
        or "none",
        "`IndexedSlices` gradients": f"{row.sparse}, see [what that means](../optimizers.md)",
        "a dense step runs as": {
            "fused": "a fused TensorFlow kernel",
            "XLA": "a function compiled by XLA",
            "plain": "TensorFlow ops",
            "hooks": "its own hooks",
        }[row.path]
        + " (float32, no clipping by norm, no weight decay)",
        "weight decay": {
            "base": "decoupled, before the update",
            "own": "part of the update",
            None: "not offered",
        }[optimizer.decays],
        "complex variables": "yes" if optimizer.complex_numbers else "no",
        "differs from Keras 3": f"{differs}: see the source above"
        if differs
        else "not in the formula",
    }
    if others := recorded(cls.__name__):
        rows["repeats the recorded steps of"] = others
    lines = [f"| {key} | {value} |" for key, value in rows.items()]
    return "\n".join(["| | |", "| --- | --- |", *lines])


def write_pages(app) -> None:
    GENERATED.mkdir(exist_ok=True)
    classes = [getattr(tfopt, name) for name in (*tfopt.optimizers.__all__, "Lookahead", "SWA")]
    for stale in {path.stem for path in GENERATED.glob("*.md")} - {c.__name__ for c in classes}:
        (GENERATED / f"{stale}.md").unlink()
    for cls in classes:
        source = Path(inspect.getfile(cls)).read_text() + Path(__file__).read_text()
        mark = f"\n<!-- made of {hash_of(source)} -->\n"
        path = GENERATED / f"{cls.__name__}.md"
        if not path.exists() or not path.read_text().endswith(mark):
            path.write_text(page(cls) + mark)


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# --- docstrings -----------------------------------------------------------------------------------


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


def shared_keywords(app, what, name, obj, options, signature, annotation):
    """Leaves what all optimizers share to the page of their base."""
    if what == "class" and issubclass(obj, tfopt.Optimizer) and obj is not tfopt.Optimizer:
        return signature.split("*, ")[0] + "**kwargs)", annotation
    return None


def check_coverage(app, env) -> None:
    """Warns of public names that no page documents; other names of a class need no page."""
    documented = set(env.domaindata["py"]["objects"])
    public = {name: getattr(tfopt, name) for name in tfopt.__all__}
    expected = {
        f"tfopt.{value.__name__ if inspect.isclass(value) else name}"
        for name, value in public.items()
        if not inspect.ismodule(value)
    }
    for module in (tfopt.inspect, tfopt.compare, tfopt.schedules, tfopt.initializers):
        names = getattr(module, "__all__", None) or [
            name
            for name, value in vars(module).items()
            if getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
        ]
        expected |= {f"{module.__name__}.{name}" for name in names}
    for name in sorted(expected - documented):
        logging.getLogger(__name__).warning("%s is public, and on no page", name)


def setup(app) -> None:
    make_static()
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-process-signature", shared_keywords)
    app.connect("autodoc-process-docstring", dollar_math, priority=400)
    app.connect("env-check-consistency", check_coverage)
