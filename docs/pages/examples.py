"""The arguments with which pages and recorded curves show each optimizer; most need none."""

import tfopt

ARGUMENTS = {
    "SGD": {"momentum": 0.9, "nesterov": True},
    "Muon": {"exclude_layers": ["dense_2"]},
    "ConditionalGradient": {"lambda_": 20.0},
    "LARS": {"trust_coefficient": 0.01},
    "SWA": {"start_averaging": 180, "average_period": 5},
}
INNER = {"momentum": 0.9}  # of the SGD inside of a wrapper

CLASSES = [getattr(tfopt, name) for name in (*tfopt.optimizers.__all__, "Lookahead", "SWA")]


def is_wrapper(cls) -> bool:
    return issubclass(cls, tfopt.Wrapper)


def make(cls, **arguments):
    """An optimizer with some arguments; one that needs another is around SGD with momentum."""
    if is_wrapper(cls):
        own = {name: arguments.pop(name) for name in list(arguments) if _is_own(cls, name)}
        return cls(tfopt.SGD(**{**INNER, **arguments}), **own)
    return cls(**arguments)


def shown(cls, **arguments) -> str:
    """The call that makes it, as one writes it."""
    if is_wrapper(cls):
        own = {name: arguments.pop(name) for name in list(arguments) if _is_own(cls, name)}
        inner = _call("SGD", {**arguments, **INNER})
        return ", ".join([f"tfopt.{cls.__name__}({inner}", *keywords(own)]) + ")"
    return _call(cls.__name__, arguments)


def _is_own(cls, name) -> bool:
    return name in cls._positional and name != "inner_optimizer"


def _call(name, arguments) -> str:
    rate = [f"{arguments['learning_rate']:g}"] if "learning_rate" in arguments else []
    rest = {n: value for n, value in arguments.items() if n != "learning_rate"}
    if name == "COCOB":
        rate = []
    return f"tfopt.{name}({', '.join([*rate, *keywords(rest)])})"


def keywords(arguments) -> list[str]:
    """Arguments as one writes them."""
    return [f"{name}={value!r}".replace("'", '"') for name, value in arguments.items()]
