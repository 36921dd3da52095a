"""Writes the stubs in `tfopt/`, which tell type checkers and editors what optimizers declare.

    python tests/stubs.py            # writes them
    python tests/stubs.py --check    # fails if they differ from the declarations

A module gets a stub only if it does not show its names or its constructor to a reader who does not
run it: the two `__init__` files, whose names are found at import, and the files of classes whose
constructors are made from declarations.
"""

import ast
import builtins
import importlib
import inspect
import json
import re
import sys
import textwrap
from pathlib import Path

import tfopt
from tfopt._declarations import constructor
from tfopt.hyper import Alias, Hyper, Static

sys.path.append(str(Path(tfopt.__file__).parents[1] / "docs"))

from pages import docstrings  # noqa: E402

PACKAGE = Path(tfopt.__file__).parent
COMMAND = "python tests/stubs.py"
HEADER = f"# Made by `{COMMAND}` from the declarations. Do not edit.\n"
WIDTH = 100
STANDARD = ("collections.abc", "contextlib", "typing")  # where types of Python are from
OURS = {
    "Alias": "tfopt.hyper",
    "GroupList": "tfopt._policies.groups",
    "Engine": "tfopt._engine.engine",
    "Hyper": "tfopt.hyper",
    "Optimizer": "tfopt.optimizer",
    "Path": "tfopt._engine.update_paths",
    "Policy": "tfopt._engine.policy",
    "ScalarOrSchedule": "tfopt.hyper",
    "Static": "tfopt.hyper",
}
Parameter = inspect.Parameter
OPEN = (tfopt.Optimizer, tfopt.Wrapper)  # whose subclasses declare more, also by position


# --- what a stub says -----------------------------------------------------------------------------


def sentence(text):
    """The first sentence of a text, without the signs of TeX."""
    first = re.split(r"(?<=\.) ", " ".join(text.split()))[0]
    return re.sub(r"\$([^$]*)\$", lambda math: math[1].replace("\\", ""), first)


def summary(documented):
    """The first sentence of a docstring."""
    return sentence(inspect.getdoc(documented).split("\n")[0])


def arguments(cls):
    """What the docstrings of a class and its bases say of each argument."""
    found = {}
    for base in reversed(cls.__mro__):
        if "Args:" in (base.__dict__.get("__doc__") or ""):
            for names, text in docstrings.entries(docstrings.split(base)["Args"]).items():
                text = sentence(docstrings.capitalized(text))
                found |= {name: text for name in names.split(", ")}
    return found


def quoted(text, indent):
    """A docstring."""
    lines = textwrap.wrap(text, WIDTH - indent - 6)
    if len(lines) == 1 and not text.endswith('"'):
        return f'"""{text}"""'
    return "\n".join(['"""' + lines[0], *lines[1:], '"""'])


def written(parameter):
    """A parameter, as Python writes it."""
    stars = {Parameter.VAR_POSITIONAL: "*", Parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    text = f"{stars}{parameter.name}"
    if parameter.annotation is not Parameter.empty and parameter.name != "self":
        text += f": {parameter.annotation}"
    if parameter.default is not Parameter.empty:
        default = parameter.default
        value = json.dumps(default) if isinstance(default, str) else repr(default)
        value = "..." if default is ... else value
        text += f" = {value}" if ": " in text else f"={value}"
    return text


def listed(parameters):
    """Parameters with the star before those that are keywords."""
    texts, seen = [], False
    for each in parameters:
        if each.kind is Parameter.KEYWORD_ONLY and not seen:
            texts.append("*")
        seen = seen or each.kind in (Parameter.KEYWORD_ONLY, Parameter.VAR_POSITIONAL)
        texts.append(written(each))
    return texts


def method(name, parameters, returns, text=""):
    """A function without its body, on one line if that fits."""
    end = f") -> {returns}:" + ("" if text else " ...")
    one = f"def {name}({', '.join(listed(parameters))}{end}"
    if len(one) > WIDTH - 4:
        one = "\n".join([f"def {name}(", *(f"    {each}," for each in listed(parameters)), end])
    return one + (f"\n{textwrap.indent(quoted(text, 8), '    ')}" if text else "")


def member(name, attribute):
    """A method or property of a class, as a stub has it."""
    if isinstance(attribute, property):
        return f"@property\n{member(name, attribute.fget)}"
    signature = inspect.signature(attribute)
    returns = "None" if name == "__init__" else signature.return_annotation
    if inspect.isgeneratorfunction(inspect.unwrap(attribute)):  # a context manager
        returns = returns.replace("Iterator", "AbstractContextManager")
    text = "" if name.startswith("__") else summary(attribute)
    return method(name, signature.parameters.values(), returns, text)


def parameters_of(cls):
    """The parameters of a constructor: those that it names, then those that are declared."""
    declared = dict(constructor.signature(cls).parameters)
    for alias in cls._declared.aliases:  # whose default is that of its target
        declared[alias] = declared[alias].replace(default=...)
    named = []
    for own in inspect.signature(cls.__init__).parameters.values():
        made = declared.pop(own.name, own) if own.name != "name" else own
        if own.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD) and own.name != "name":
            named.append(own.replace(annotation=made.annotation))
    found = [*named, *declared.values()]
    if cls in OPEN:
        keyword = {"kind": Parameter.KEYWORD_ONLY}
        found = [p.replace(**keyword) if p.name in declared else p for p in found]
        found.append(Parameter("args", Parameter.VAR_POSITIONAL, annotation="Any"))
        found.append(Parameter("kwargs", Parameter.VAR_KEYWORD, annotation="Any"))
    return sorted(found, key=lambda parameter: parameter.kind)


def class_stub(cls):
    """A class that declares its arguments: attributes, constructor, methods of its own."""
    said, body = arguments(cls), []
    for name, attribute in vars(cls).items():
        if isinstance(attribute, Hyper | Static | Alias):
            kind = type(attribute).__name__
            text = said.get(name) or f"Another name for `{attribute.target}`."
            body.append(f"{name}: {kind}\n{quoted(text, 4)}")
    body.append(method("__init__", parameters_of(cls), "None"))
    if cls is tfopt.Optimizer:
        body.insert(0, f"learning_rate: Hyper\n{quoted(summary(cls.learning_rate), 4)}")
        hook = inspect.signature(cls.__init_subclass__.__func__)
        body.append(method("__init_subclass__", hook.parameters.values(), "None"))
    for name, attribute in vars(cls).items():
        is_new = cls is tfopt.Optimizer or not hasattr(tfopt.Optimizer, name)
        is_method = inspect.isfunction(attribute) or isinstance(attribute, property)
        if is_method and is_new and not name.startswith("_") and inspect.getdoc(attribute):
            body.append(member(name, attribute))
    return stub_of(cls, body)


def plain_class_stub(cls):
    """A class next to one that declares: its constructor and methods."""
    functions = {n: a for n, a in vars(cls).items() if inspect.isfunction(a)}
    return stub_of(cls, [member(name, attribute) for name, attribute in functions.items()])


def stub_of(cls, body):
    """A class with its bases and the first line of its docstring."""
    bases = ", ".join(base.__name__ for base in cls.__bases__ if base is not object)
    text = "\n".join([quoted(summary(cls), 4), "", *body])
    head = f"class {cls.__name__}({bases}):" if bases else f"class {cls.__name__}:"
    return f"{head}\n{textwrap.indent(text, '    ')}\n"


# --- the files ------------------------------------------------------------------------------------


def imports(text, classes):
    """The lines that import what a stub names."""
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)]
    names = {node.id for node in nodes if isinstance(node.ctx, ast.Load)}
    ours = {**OURS, **{base.__name__: base.__module__ for cls in classes for base in cls.__bases__}}
    found = {}
    for name in sorted(names - {cls.__name__ for cls in classes} - vars(builtins).keys()):
        known = (where for where in STANDARD if hasattr(importlib.import_module(where), name))
        found.setdefault(ours.get(name) or next(known), []).append(name)
    lines = [(w in STANDARD, f"from {w} import {', '.join(found[w])}") for w in sorted(found)]
    standard = [line for is_standard, line in lines if is_standard]
    return "\n".join([*standard, "", *(line for is_standard, line in lines if not is_standard)])


def module_stub(module):
    """The stub of a module with classes that declare their arguments."""
    classes = [
        value
        for name, value in vars(module).items()
        if name in tfopt.__all__ and value.__module__ == module.__name__
    ]
    body = "\n".join(
        class_stub(cls) if issubclass(cls, tfopt.Optimizer) else plain_class_stub(cls)
        for cls in classes
    )
    return f"{HEADER}\n{imports(body, classes)}\n\n{body}"


def names_stub(module, names):
    """The stub of a package: its docstring's first line, and where its names are from."""
    lines, more = [], ["__version__: str"] if module is tfopt else []
    for name in names:
        value = getattr(module, name)
        if inspect.ismodule(value):
            lines.append((value.__name__.rpartition(".")[0], name))
        elif value.__name__ == name:
            lines.append((value.__module__, name))
        else:
            more.append(f"{name} = {value.__name__}")
    texts = [f"from {package} import {name} as {name}" for package, name in sorted(lines)]
    return "\n".join([f'{HEADER}"""{summary(module)}"""', "", *texts, "", *more, ""])


def stubs():
    """The text of each stub, by its path."""
    classes = {n: getattr(tfopt, n) for n in tfopt.__all__ if inspect.isclass(getattr(tfopt, n))}
    declaring = [cls for cls in classes.values() if issubclass(cls, tfopt.Optimizer)]
    of_folder = [n for n, cls in classes.items() if cls.__module__.startswith("tfopt.optimizers.")]
    modules = {inspect.getmodule(cls) for cls in declaring}
    found = {module: module_stub(module) for module in modules}
    found[tfopt] = names_stub(tfopt, tfopt.__all__)
    found[tfopt.optimizers] = names_stub(tfopt.optimizers, of_folder)
    return {Path(module.__file__).with_suffix(".pyi"): text for module, text in found.items()}


def stale():
    """The stubs that differ from the declarations, and those of modules that are gone."""
    made = stubs()
    there = set(PACKAGE.rglob("*.pyi"))
    wrong = [p for p in made if p not in there or p.read_text() != made[p]]
    return sorted(
        str(path.relative_to(PACKAGE.parent)) for path in [*wrong, *(there - made.keys())]
    )


if __name__ == "__main__":
    found = stale()
    if "--check" in sys.argv:
        sys.exit(found and f"Stubs differ from declarations; run `{COMMAND}`: {', '.join(found)}")
    made = stubs()
    for path in PACKAGE.rglob("*.pyi"):
        path.unlink()
    for path, text in made.items():
        path.write_text(text)
    print(f"{len(made)} stubs, of which {len(found)} have changed")
