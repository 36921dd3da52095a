"""Public names, signatures and configs are those recorded: to record, run this file."""

import inspect
import json
import re
import sys
from pathlib import Path

import keras

import tfopt
from tfopt import compare, initializers, legacy, optimizers, schedules

RECORD = Path(__file__).with_name("public_api.json")
MODULES = (tfopt, optimizers, tfopt.inspect, compare, initializers, legacy, schedules)


def described(attribute):
    """What users can tell of something: what kind it is, and how it is called."""
    if inspect.ismodule(attribute):
        return "module"
    if isinstance(attribute, property):
        return "property" if attribute.fset is None else "property that can be set"
    kind = "class" if inspect.isclass(attribute) else type(attribute).__name__
    if isinstance(attribute, classmethod | staticmethod):
        attribute = attribute.__func__
    try:
        signature = inspect.signature(attribute)
    except (TypeError, ValueError):  # it is not called, or by code that has no signature
        return kind
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    text = str(signature.replace(parameters=bare, return_annotation=signature.empty))
    return re.sub(r" at 0x\w+", "", f"{kind} {text}")


def names_of(module):
    """What a module offers: its `__all__`, or what it defines itself."""
    own = [n for n, a in vars(module).items() if getattr(a, "__module__", "") == module.__name__]
    return getattr(module, "__all__", [name for name in own if not name.startswith("_")])


def members(cls):
    """The public attributes that tfopt gives a class, and how they are called."""
    ours = [base for base in cls.__mro__ if base.__module__.split(".")[0] == "tfopt"]
    names = sorted({name for base in ours for name in vars(base) if not name.startswith("_")})
    found = {name: described(inspect.getattr_static(cls, name)) for name in names}
    base = tfopt.Optimizer  # whose members are not listed again for each optimizer
    return {
        name: what
        for name, what in found.items()
        if cls is base or what != described(inspect.getattr_static(base, name, None))
    }


def public_api():
    """Everything public, by its full name."""
    api = {}
    for module in MODULES:
        for name in names_of(module):
            attribute = getattr(module, name)
            full_name = f"{module.__name__}.{name}"
            api[full_name] = described(attribute)
            if inspect.isclass(attribute) and attribute.__module__.split(".")[0] == "tfopt":
                api |= {f"{full_name}.{n}": what for n, what in members(attribute).items()}
    for name in optimizers.__all__:
        api[f"config of {name}"] = getattr(tfopt, name)().get_config()
    return api


def test_public_names_signatures_and_configs_are_those_recorded():
    recorded, now = json.loads(RECORD.read_text()), json.loads(json.dumps(public_api()))
    assert {n: now.get(n) for n in recorded if now.get(n) != recorded[n]} == {}
    assert sorted(now.keys() - recorded.keys()) == []


if __name__ == "__main__":
    assert keras.config.backend() == "tensorflow"
    RECORD.write_text(json.dumps(public_api(), indent=1, sort_keys=True) + "\n")
    print(f"{len(public_api())} names in {RECORD}", file=sys.stderr)
