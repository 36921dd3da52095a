"""The optimizers, one in each file. tfopt finds a new file in this folder by itself."""

from __future__ import annotations

import importlib
import pkgutil

from tfopt import registry
from tfopt.optimizer import Optimizer

__all__: list[str] = []

for _module in pkgutil.iter_modules(__path__):
    for _name, _class in vars(importlib.import_module(f"{__name__}.{_module.name}")).items():
        if isinstance(_class, type) and _class.__module__ == f"{__name__}.{_module.name}":
            if issubclass(_class, Optimizer):
                registry.register(_class)
                globals()[_name] = _class
                __all__.append(_name)

Lamb = globals()["LAMB"]  # Keras 3's name of it
RAdam = globals()["RectifiedAdam"]  # PyTorch's and Optax' name of it
