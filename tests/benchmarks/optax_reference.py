"""Optax' optimizers under `jax.jit`; run as a script, by `frameworks.py`."""

import frameworks
import jax
import optax
import optax.contrib
import problems
from measure import Contender

RATE = 1e-3
# An optimizer as the benchmarks call it: what makes it in Optax.
OPTIMIZERS = {
    "SGD": lambda: optax.sgd(RATE),
    "SGD momentum": lambda: optax.sgd(RATE, momentum=0.9),
    "RMSprop": lambda: optax.rmsprop(RATE),
    "Adam": lambda: optax.adam(RATE),
    "AdamW": lambda: optax.adamw(RATE, weight_decay=0.004),
    "Adadelta": lambda: optax.adadelta(RATE),
    "Adagrad": lambda: optax.adagrad(RATE),
    "Adamax": lambda: optax.adamax(RATE),
    "Nadam": lambda: optax.nadam(RATE),
    "NAdamW": lambda: optax.nadamw(RATE, weight_decay=0.01),
    "Lion": lambda: optax.lion(RATE),
    "LAMB": lambda: optax.lamb(RATE),
    "LARS": lambda: optax.lars(RATE),
    "AdaBelief": lambda: optax.adabelief(RATE),
    "Adan": lambda: optax.adan(RATE),
    "NovoGrad": lambda: optax.novograd(RATE),
    "RectifiedAdam": lambda: optax.radam(RATE),
    "Yogi": lambda: optax.yogi(RATE),
    "AdEMAMix": lambda: optax.contrib.ademamix(RATE),
    "Muon": lambda: optax.contrib.muon(RATE),
    "ScheduleFreeAdamW": lambda: optax.contrib.schedule_free_adamw(RATE),
    "ScheduleFreeSGD": lambda: optax.contrib.schedule_free_sgd(RATE),
}


class Step(Contender):
    """A compiled step that gives the memory of parameters and state back to the next one."""

    def __init__(self, optimizer, arguments, problem):
        made = OPTIMIZERS[optimizer]()
        arguments = dict(arguments)
        if "global_clipnorm" in arguments:
            made = optax.chain(optax.clip_by_global_norm(arguments.pop("global_clipnorm")), made)
        if arguments:
            raise TypeError(f"Optax has no {arguments}")
        values, gradients = problems.dense(problem)
        self.parameters = [jax.numpy.asarray(value) for value in values]
        self.gradients = [jax.numpy.asarray(gradient) for gradient in gradients]
        self.state = jax.jit(made.init)(self.parameters)

        def step(gradients, state, parameters):
            updates, state = made.update(gradients, state, parameters)
            return optax.apply_updates(parameters, updates), state

        self.compiled = jax.jit(step, donate_argnums=(1, 2))

    def step(self):
        self.parameters, self.state = self.compiled(self.gradients, self.state, self.parameters)
        jax.block_until_ready(self.parameters)


if __name__ == "__main__":
    frameworks.serve({"Optax": Step})
