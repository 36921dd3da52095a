"""PyTorch's fused and foreach optimizers, in a process of their own.

One process holds both; each contender asks it over a pipe for its steps when it is its turn,
so that PyTorch's rounds are interleaved with the others although it is not loaded beside
TensorFlow. Run as a script, this file is that process.
"""

import contextlib
import gc
import importlib.util
import time

import child
import problems
from measure import CORES, Contender

# An optimizer as the benchmarks call it: PyTorch's name and arguments.
OPTIMIZERS = {
    "SGD": ("SGD", {}),
    "SGD momentum": ("SGD", {"momentum": 0.9}),
    "RMSprop": ("RMSprop", {}),
    "Adam": ("Adam", {}),
    "AdamW": ("AdamW", {"weight_decay": 0.004}),
    "Adadelta": ("Adadelta", {}),
    "Adagrad": ("Adagrad", {}),
    "Adamax": ("Adamax", {}),
    "Nadam": ("NAdam", {}),
    "Adafactor": ("Adafactor", {}),
}
IMPLEMENTATIONS = ("fused", "foreach")


class Torch(child.Child):
    """The process, seen from outside."""

    @classmethod
    def start(cls):
        """None where PyTorch is not installed."""
        return cls(__file__) if importlib.util.find_spec("torch") else None

    def contenders(self, optimizer, arguments, problem):
        """Those that PyTorch has; they replace the ones before."""
        if not self.alive():
            return {}  # it crashed, which must not cost the others their figures
        self.ask("clear")
        return {
            f"PyTorch {implementation}": Remote(self, implementation)
            for implementation in IMPLEMENTATIONS
            if self.ask("make", implementation, optimizer, arguments, problem)
        }


class Remote(Contender):
    """A contender in that process."""

    def __init__(self, torch, implementation):
        self.torch, self.implementation = torch, implementation

    def clock(self, count):
        return self.torch.ask("clock", self.implementation, count)


class Step(Contender):
    """PyTorch's own step, inside that process."""

    def __init__(self, implementation, optimizer, arguments, problem):
        import torch

        values, gradients = problems.dense(problem)
        self.parameters = [torch.nn.Parameter(torch.tensor(value)) for value in values]
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = torch.tensor(gradient)
        name, own = OPTIMIZERS[optimizer]
        arguments = {**own, **arguments}
        self.norm = arguments.pop("global_clipnorm", None)
        self.clip = torch.nn.utils.clip_grad_norm_
        cls = getattr(torch.optim, name)
        self.optimizer = cls(self.parameters, lr=1e-3, **arguments, **{implementation: True})

    def step(self):
        if self.norm is not None:
            self.clip(self.parameters, self.norm)
        self.optimizer.step()


def serve():
    """Answers questions until there are no more."""
    import torch

    torch.set_num_threads(CORES)
    torch.set_flush_denormal(True)  # as TensorFlow does
    made = {}

    def answer(question, *rest):
        if question == "clear":
            made.clear()
            gc.collect()
            return None
        if question == "make":
            # Raised for arguments that PyTorch lacks, and for what it has no such kernel for.
            with contextlib.suppress(AttributeError, KeyError, RuntimeError, TypeError, ValueError):
                made[rest[0]] = step = Step(*rest)
                step.step()
            return rest[0] in made
        seconds = made[rest[0]].clock(rest[1])
        time.sleep(0.005)  # its idle threads spin, but not into the next one's turn
        return seconds

    child.serve(answer)


if __name__ == "__main__":
    serve()
