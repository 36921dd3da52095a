"""What the optimizers step on: variables and gradients, as NumPy arrays."""

import functools

import numpy as np

WIDTH, LAYERS = 512, 6
ROW, INDICES = 64, 4096  # the width of a table, and how many of its rows a batch looks up
BATCHES = 8  # batches in turn, since one alone would keep its rows in the cache


def _transformer():
    layer = [(WIDTH, WIDTH)] * 4 + [(WIDTH,)] * 4 + [(WIDTH, 4 * WIDTH), (4 * WIDTH,)]
    layer += [(4 * WIDTH, WIDTH), (WIDTH,)] + [(WIDTH,)] * 4
    return [(8000, WIDTH)] + layer * LAYERS


DENSE = {
    "matrix": [(4096, 4096)],  # 16.8 M parameters
    "transformer": _transformer(),  # 23 M parameters in 97 variables
    "small": [(32, 32)] * 100 + [(32,)] * 100,  # 200 variables
}
TABLES = {"1e4": 10**4, "1e5": 10**5, "1e6": 10**6}
DISTRIBUTIONS = ("uniform", "Zipf")


@functools.lru_cache(1)
def dense(problem):
    """(values, gradients) of each variable."""
    random = np.random.default_rng(0)
    values = [random.standard_normal(shape, "float32") for shape in DENSE[problem]]
    gradients = [1e-2 * random.standard_normal(shape, "float32") for shape in DENSE[problem]]
    return values, gradients


@functools.lru_cache(1)
def sparse(table, distribution):
    """The table, and (indices, gradients of these rows) for each batch; indices repeat."""
    random, rows = np.random.default_rng(0), TABLES[table]
    batches = []
    weights = np.cumsum(1 / np.arange(1, rows + 1) ** 1.1)
    for _ in range(BATCHES):
        if distribution == "Zipf":
            indices = np.searchsorted(weights, random.random(INDICES) * weights[-1])
        else:
            indices = random.integers(0, rows, INDICES)
        batches.append((indices, 1e-2 * random.standard_normal((INDICES, ROW), "float32")))
    return np.zeros((rows, ROW), "float32"), batches
