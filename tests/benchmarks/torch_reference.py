"""PyTorch's fused and foreach optimizers, and its Muon; run as a script, by `frameworks.py`."""

import functools

import frameworks
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
    "NAdamW": ("NAdam", {"weight_decay": 0.01, "decoupled_weight_decay": True}),
    "RectifiedAdam": ("RAdam", {}),
    "Adafactor": ("Adafactor", {}),
}


class Step(Contender):
    """PyTorch's own step, inside its process."""

    def __init__(self, implementation, optimizer, arguments, problem):
        import torch

        values, gradients = problems.dense(problem)
        self.parameters = [torch.nn.Parameter(torch.tensor(value)) for value in values]
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = torch.tensor(gradient)
        arguments = dict(arguments)
        self.norm = arguments.pop("global_clipnorm", None)
        self.clip = torch.nn.utils.clip_grad_norm_
        self.optimizers = list(self.make(torch.optim, implementation, optimizer, arguments))

    def make(self, optim, implementation, optimizer, arguments):
        if optimizer == "Muon" and implementation == "foreach":  # with AdamW for what is no matrix
            matrices = [parameter for parameter in self.parameters if parameter.ndim == 2]
            others = [parameter for parameter in self.parameters if parameter.ndim != 2]
            yield optim.Muon(matrices, lr=1e-3, **arguments)
            yield optim.AdamW(others, lr=1e-3, foreach=True)
            return
        name, own = OPTIMIZERS[optimizer]
        cls = getattr(optim, name)
        yield cls(self.parameters, lr=1e-3, **own, **arguments, **{implementation: True})

    def step(self):
        if self.norm is not None:
            self.clip(self.parameters, self.norm)
        for optimizer in self.optimizers:
            optimizer.step()


if __name__ == "__main__":
    import torch

    torch.set_num_threads(CORES)
    torch.set_flush_denormal(True)  # as TensorFlow does
    names = ("fused", "foreach")
    frameworks.serve({f"PyTorch {name}": functools.partial(Step, name) for name in names})
