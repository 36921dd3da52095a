"""The page of each optimizer, made from its declarations and its docstring."""

import inspect
import re
from pathlib import Path

import tensorflow as tf

import tfopt
from pages import arguments, curves, docstrings, examples, paths, tables
from pages.examples import CLASSES

LINKS = {cls.__name__: f"{cls.__name__}.md" for cls in CLASSES} | {
    "Optimizer": "../reference/keywords.md",
    "Wrapper": "reference/tfopt.Wrapper.md",
}


def page(cls, folder) -> str:
    """The page as Markdown; draws its pictures into a folder."""
    name = cls.__name__
    says = docstrings.split(cls)
    links = {other: page for other, page in LINKS.items() if other != name}

    def text(title):
        return docstrings.linked(says[title], links)

    dtypes = f"\n{text('Dtypes')}\n" if "Dtypes" in says else ""
    return f"""# {name}

```{{eval-rst}}
.. autoclass:: tfopt.{name}
```

**When to use it.** {text("When to use")}

## How to use it

::::{{tab-set}}
:::{{tab-item}} compile and fit
```python
import tfopt

{_compile(cls)}
```
:::
:::{{tab-item}} in a loop
```python
import tensorflow as tf
import tfopt

{_loop(cls)}
```
:::
::::

## Equations

{docstrings.short_lines(text("Formula"))}

## Arguments

A number may also be a [schedule](../schedules.md), a variable or a function.

{arguments.table(cls, arguments.own(cls), arguments.documented(cls), links)}

{_raises(text("Raises"))}

::::::{{dropdown}} Keywords that all optimizers share
{_shared(cls)}

[All keywords](../reference/keywords.md) has the whole text of each.
::::::

## Slots and memory

{text("Slots")}

{_memory(cls)}

## Gradients that are `IndexedSlices`

{text("Sparse gradients")} [Sparse gradients](../sparse.md) compares the optimizers.

## Other libraries

{_elsewhere(text("Other libraries"))}

## Its curve on handwritten digits

{curves.section(cls, folder)}
## Its path on two parameters

{paths.section(cls, folder, curves.record()[name]["path"])}
## In short

{_facts(cls)}
{dtypes}
## Source

{text("Source")}
"""


def _first_rate(cls) -> dict:
    """The learning rate of the examples: the first one that "When to use" names."""
    if examples.is_wrapper(cls):
        return {}
    named = re.search(r"Begin (?:at|between) ([\d.e-]*\d)", docstrings.split(cls)["When to use"])
    return {"learning_rate": float(named[1]) if named else cls.learning_rate.default}


def _call(cls) -> str:
    given = dict(curves.arguments(cls))
    if cls is tfopt.Muon:
        given = {"exclude_layers": ["head"]}
    if examples.is_wrapper(cls):
        given["learning_rate"] = 0.01
    return examples.shown(cls, **_first_rate(cls), **given)


def _compile(cls) -> str:
    lines = [
        f"optimizer = {_call(cls)}",
        'model.compile(optimizer=optimizer, loss="mse")  # a model of Keras 3 or tf-keras',
        "model.fit(x, y, epochs=10)",
    ]
    return "\n".join(lines)


def _loop(cls) -> str:
    return f"""optimizer = {_call(cls)}


@tf.function
def train_step(x, y):
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True))
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    return loss"""


def _raises(text) -> str:
    return "\n".join(f"Raises `{error}` {what}" for error, what in docstrings.entries(text).items())


def _shared(cls) -> str:
    says = {
        name: docstrings.one_sentence(text)
        for name, text in arguments.documented(tfopt.Optimizer).items()
    }
    return arguments.table(cls, arguments.shared(cls), says, LINKS)


def _memory(cls) -> str:
    """The slots and bytes of a matrix and of a vector, as `tfopt.inspect` finds them."""
    shapes = {"kernel": [1024, 1024], "bias": [1024]}
    variables = [tf.Variable(tf.zeros(shape), name=name) for name, shape in shapes.items()]
    rows = []
    for row in tfopt.inspect.describe(examples.make(cls, **curves.arguments(cls)), variables):
        size = " × ".join(f"{number:,}" for number in row.shape)
        slots = ", ".join(
            f"`{slot}`"
            + (
                ""
                if shape == row.shape
                else f" of {' × '.join(f'{n:,}' for n in shape) or 'one number'}"
            )
            for slot, shape in row.slots.items()
        )
        parameters = 1024 ** len(row.shape)
        each = f"{row.slot_bytes / parameters:.2f}".rstrip("0").rstrip(".")
        rows.append([f"{size}, float32", slots or "none", each])
    return tables.table(["variable", "slots", "bytes per parameter"], rows)


def _elsewhere(text) -> str:
    rows = [
        [library, docstrings.cell(docstrings.capitalized(what))]
        for library, what in docstrings.entries(text).items()
    ]
    return tables.table(["library", "compared with tfopt"], rows)


def _facts(cls) -> str:
    optimizer = examples.make(cls)
    [row] = tfopt.inspect.describe(optimizer, [tf.Variable(tf.zeros([4, 3]), name="matrix")])
    rows = {
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
        "`cautious` updates": "yes" if optimizer.can_be_cautious else "no",
        "complex variables": "yes" if optimizer.complex_numbers else "no",
    }
    if others := tables.recorded(cls.__name__):
        rows["repeats the recorded steps of"] = others
    return tables.table(["", ""], [list(row) for row in rows.items()])


def sources(cls) -> str:
    """The text of all that a page is made of, to know when it must be made again."""
    files = [inspect.getfile(cls), inspect.getfile(tfopt.Optimizer), curves.RECORD]
    files += sorted(Path(__file__).parent.glob("*.py"))
    return "".join(Path(file).read_text() for file in files)


def name_of(cls) -> str:
    """The name of a page's file."""
    return cls.__name__
