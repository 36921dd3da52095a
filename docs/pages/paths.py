"""The picture of an optimizer's path on a function of two parameters."""

import tfopt
from pages import examples, pictures


def banana(x, y):
    """Rosenbrock's function, with a valley less steep."""
    return (1 - x) ** 2 + 10 * (y - x * x) ** 2


START, STEPS, BOUNDS = (-1.5, 1.5), 100, (-2.0, 2.0, -0.75, 2.75)
RATES = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0]
KEEPS = [0.7, 0.8, 0.9, 0.95, 0.97, 0.99]  # of ConditionalGradient, where a large one is small
ALPHAS = [1.0, 3.0, 10.0, 30.0, 100.0, 300.0]  # of COCOB, which needs no learning rate

# What two parameters need to show of an optimizer what a model would.
ARGUMENTS = {
    "LARS": {"roles": {".*": "adapted"}, "trust_coefficient": 0.1},
    "Muon": {"roles": {".*": "matrix"}},
    "ConditionalGradient": {"lambda_": 3.0},
}


def lowest(cls) -> float:
    """The value of the number that a picture turns whose path ends lowest."""
    name, values = _turned(cls)

    def end(value):
        points = tfopt.inspect.trajectory(_made(cls, name, value), banana, START, STEPS)
        loss = float(banana(*points[-1]))
        return loss if loss == loss else float("inf")

    return min(values, key=end)


def section(cls, folder, best) -> str:
    """Draws the paths at the best value and at its neighbours; says what they are."""
    name, values = _turned(cls)
    at = values.index(best)
    figure, axes = pictures.figure(6.4, 4.2)
    tfopt.inspect.plot_trajectories(
        {f"{name}={value}": _made(cls, name, value) for value in values[max(0, at - 1) : at + 2]},
        banana,
        START,
        steps=STEPS,
        bounds=BOUNDS,
        ax=axes,
    )
    axes.plot(1, 1, "kx")
    pictures.save(figure, folder / f"{cls.__name__}.svg")
    options = ", ".join(examples.keywords(ARGUMENTS.get(cls.__name__, {})))
    more = f" The optimizer has `{options}` here, for two parameters." if options else ""
    more += " It is around `SGD` with momentum 0.9." if examples.is_wrapper(cls) else ""
    return f"""The picture shows {STEPS} steps on $(1-x)^2 + 10\\,(y-x^2)^2$ from the star.
The least value is at the cross. Of {len(values)} values of `{name}` from {values[0]:g} to
{values[-1]:g}, {best:g} came lowest; its
neighbours are beside it.{more} Two parameters tell little of a million: the picture shows how the
optimizer moves, not how good it is.

{pictures.image(f"{cls.__name__}.svg", f"Paths of {cls.__name__} on Rosenbrock's function")}"""


def _turned(cls):
    """The number that a picture turns, and its values."""
    if cls is tfopt.ConditionalGradient:
        return "learning_rate", KEEPS
    return ("alpha", ALPHAS) if cls is tfopt.COCOB else ("learning_rate", RATES)


def _made(cls, name, value):
    return examples.make(cls, **{name: value}, **ARGUMENTS.get(cls.__name__, {}))
