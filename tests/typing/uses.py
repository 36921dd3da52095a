"""Uses of tfopt that type checkers must accept, and others that they must refuse.

mypy and pyright read this file; nothing runs it. They must find an error in each line that ends
with `# wrong:`, and in no other: `tests/typing/judge.py` compares.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from typing_extensions import assert_type

import tfopt
import tfopt.compare
from tfopt.hyper import ScalarOrSchedule
from tfopt.optimizers.adam import Adam


def constructors() -> None:
    assert_type(tfopt.Adam(), tfopt.Adam)
    tfopt.Adam(1e-3, 0.9, 0.999, 1e-7, True)
    tfopt.Adam(learning_rate=1, amsgrad=True, name="adam", clipnorm=1.0)
    tfopt.Adam(lr=1e-3, decay=1e-6)
    tfopt.SGD(0.1, 0.9, True, weight_decay=None)
    tfopt.AdamW(weight_decay=0.01, exclude_from_weight_decay=["bias"])
    tfopt.Muon(exclude_layers=["head"], roles={"head": "adamw"}, ns_steps=5)
    tfopt.ConditionalGradient(0.1, ord="nuclear")
    tfopt.Adafactor(relative_step=False, gradient_accumulation_steps=4, jit_compile="auto")
    tfopt.Lion(jit_compile=False, lazy=None, use_ema=True, all_reduce_dtype="bfloat16")
    tfopt.SGD(gradient_aggregator=lambda pairs: pairs, gradient_transformers=[lambda p: p])
    assert_type(Adam(beta_1=0.3), tfopt.Adam)
    tfopt.Adam(learning_rte=1e-3)  # wrong: a misspelt keyword
    tfopt.AdamW(wd=0.01)  # wrong: a keyword of another library
    Adam(beta1=0.3)  # wrong: a misspelt keyword, of the class by its file
    tfopt.Yogi(beta_one=0.9)  # wrong: a misspelt keyword
    tfopt.Muon(ns_step=5)  # wrong: a misspelt keyword
    tfopt.Adam("1e-3")  # wrong: a string for a number
    tfopt.SGD(momentum="0.9")  # wrong: a string for a number, by its keyword
    tfopt.Adam([1e-3])  # wrong: a list for a number
    tfopt.Adam({"learning_rate": 1e-3})  # wrong: a config for a number
    tfopt.Adam(None)  # wrong: None where there is no "off"
    tfopt.Adam(1e-3, 0.9, 0.999, 1e-7, True, "adam")  # wrong: one positional argument too many
    tfopt.Adam(name=1)  # wrong: a number for a name
    tfopt.RMSprop(centered="yes")  # wrong: a string for a bool
    tfopt.SGD(nesterov=0.9)  # wrong: a number for a bool
    tfopt.Adam(clipnorm="1.0")  # wrong: a string for a shared number
    tfopt.Adam(use_ema="yes")  # wrong: a string for a shared bool
    tfopt.Adam(gradient_accumulation_steps=2.5)  # wrong: not a whole number
    tfopt.Adam(jit_compile="never")  # wrong: not one of the choices
    tfopt.Adam(all_reduce_dtype="float32")  # wrong: not one of the choices
    tfopt.ConditionalGradient(ord=2)  # wrong: not one of the choices
    tfopt.SGD(gradient_aggregator="sum")  # wrong: a string for a function
    tfopt.SGD(gradient_transformers=1)  # wrong: a number for a list of functions


def names() -> None:
    assert_type(tfopt.optimizers.Adam, type[tfopt.Adam])
    assert_type(tfopt.Lamb(), tfopt.LAMB)
    assert_type(tfopt.optimizers.RAdam(), tfopt.RectifiedAdam)
    assert_type(tfopt.__version__, str)
    tfopt.Admm(1e-3)  # wrong: there is no such optimizer
    tfopt.optimizers.Adamm()  # wrong: there is no such optimizer
    print(tfopt.nonsense)  # wrong: there is no such name
    tfopt.Lamb(beta_3=0.9)  # wrong: an alias has the keywords of its class


def schedules(variable: tf.Variable, number: np.float32) -> None:
    cosine = tfopt.schedules.CosineDecay(1e-3, 1000, warmup_target=1e-2, warmup_steps=100)
    tfopt.Adam(cosine)
    tfopt.Adam(learning_rate=tfopt.schedules.Warmup(cosine, 100))
    tfopt.Adam(keras.optimizers.schedules.ExponentialDecay(1e-3, 100, 0.9))
    tfopt.Adam(lambda: 1e-3, beta_1=lambda step: 0.9)
    tfopt.Adam(variable, tf.constant(0.9), number)
    given: ScalarOrSchedule = 1e-3 if number else cosine
    tfopt.SGD(given)
    tfopt.schedules.CosineDecay(1e-3)  # wrong: without its steps
    tfopt.schedules.CosineDecay(1e-3, decay_steps="1000")  # wrong: a string for a number
    tfopt.schedules.ExponentialDecay(1e-3, 100, 0.9, staircases=True)  # wrong: misspelt
    tfopt.schedules.CosinDecay(1e-3, 100)  # wrong: there is no such schedule
    tfopt.Adam(lambda step, epoch: 1e-3)  # wrong: a function of two arguments


def attributes(optimizer: tfopt.Adam) -> None:
    assert_type(optimizer.learning_rate, Any)
    optimizer.learning_rate = 1e-4
    optimizer.learning_rate = tfopt.schedules.CosineDecay(1e-3, 1000)
    optimizer.learning_rate.assign(1e-4)
    optimizer.lr = float(optimizer.lr) * 0.5
    optimizer.clipnorm = None
    assert_type(tfopt.Adam.learning_rate, Any)
    assert_type(optimizer.get_config(), dict[str, Any])
    optimizer.set_weights(optimizer.get_weights())
    optimizer.learning_rate = "fast"  # wrong: a string for a number
    optimizer.clipnorm = [1.0]  # wrong: a list for a number
    optimizer.set_weights()  # wrong: without the weights
    optimizer.get_slot(tf.Variable(1.0))  # wrong: without the name of the slot


def steps(optimizer: tfopt.Optimizer, model: keras.Model, x: tf.Variable) -> None:
    model.compile(optimizer=tfopt.Adam(), loss="mse")
    of_keras: keras.optimizers.Optimizer = tfopt.Adam()
    keras.optimizers.serialize(of_keras)
    optimizer.apply_gradients(zip([1.0], [x], strict=True))
    optimizer.apply_gradients([(None, x)])
    optimizer.minimize(lambda: x * x, [x])
    optimizer.minimize(lambda: x * x, lambda: model.trainable_variables)
    assert_type(optimizer.evaluation_weights(), AbstractContextManager[None])
    optimizer.apply_gradients([1.0, 2.0])  # wrong: no pairs
    optimizer.apply_gradients([1.0], [x])  # wrong: two lists in place of pairs
    optimizer.apply_gradients()  # wrong: without gradients
    optimizer.minimize(lambda: x * x, [x], tapes=None)  # wrong: a misspelt keyword
    with optimizer.evaluation_weights() as value:
        assert_type(value, None)


def wrappers(optimizer: tfopt.Optimizer) -> None:
    tfopt.Lookahead(tfopt.Adam(1e-3), sync_period=5, slow_step_size=0.5, clipnorm=1.0)
    tfopt.SWA("adam", start_averaging=100)
    assert_type(tfopt.SWA("adam").inner_optimizer, tfopt.Optimizer)
    tfopt.LossScaleOptimizer(tfopt.SGD(0.1), dynamic_growth_steps=1000)
    both = tfopt.MultiOptimizer({"head": tfopt.Adam()}, tfopt.SGD(), clipnorm=1.0)
    assert_type(both.optimizers, list[tfopt.Optimizer])
    tfopt.MultiOptimizer(tfopt.OptimizerMap(tfopt.SGD(), {".*/kernel": tfopt.Adam()}))
    tfopt.Lookahead()  # wrong: around nothing
    tfopt.Lookahead(0.5)  # wrong: a number for an optimizer
    tfopt.Lookahead(optimizer, sync_periods=5)  # wrong: a misspelt keyword
    tfopt.SWA(optimizer, average_period=0.5)  # wrong: not a whole number
    tfopt.LossScaleOptimizer(optimizer, growth_steps=1000)  # wrong: a misspelt keyword
    tfopt.LossScaleOptimizer(optimizer, "32768")  # wrong: a string for a number
    tfopt.MultiOptimizer({}, tfopt.SGD(), clip_norm=1.0)  # wrong: a misspelt keyword
    tfopt.MultiOptimizer({}, 0.1)  # wrong: a number for an optimizer
    tfopt.OptimizerMap()  # wrong: without the optimizer of all others


def tools(optimizer: tfopt.Optimizer, model: keras.Model, x: tf.Tensor) -> None:
    state = tfopt.functional.init(optimizer, {"x": x})
    values, state = tfopt.functional.step(optimizer, {"x": x}, {"x": x}, state, learning_rate=0.1)
    assert_type(state, tfopt.functional.State)
    tfopt.SGD(0.1, groups=tfopt.groups.layerwise(model, 0.9))
    tfopt.SGD(0.1, groups=[{"encoder": {"learning_rate": 1e-5}}, ("head", {"weight_decay": 0})])
    tfopt.inspect.summary(optimizer, model)
    assert_type(tfopt.inspect.describe(optimizer), list[tfopt.inspect.Row])
    model.fit(x, callbacks=[tfopt.inspect.TensorBoard("logs")])
    found = tfopt.get({"class_name": "Adam", "config": {}})
    tfopt.deserialize(tfopt.serialize(found))
    tfopt.functional.step(optimizer, x, x)  # wrong: without the state
    tfopt.functional.init(optimizer)  # wrong: without values
    tfopt.groups.layerwise(model, "0.9")  # wrong: a string for a number
    tfopt.SGD(groups=0.1)  # wrong: a number for groups
    tfopt.SGD(groups={"encoder": 1e-5})  # wrong: a number for the numbers of a group
    tfopt.inspect.sumary(optimizer)  # wrong: a misspelt function
    tfopt.inspect.lr_range(model, x, strat=1e-7)  # wrong: a misspelt keyword
    tfopt.get()  # wrong: without an identifier


class SignSGD(tfopt.Optimizer):
    learning_rate = tfopt.Hyper(0.1, low=0)
    nesterov = tfopt.Static(False)
    sparse = "rows"
    decays = None
    state = {"scale": 1.0}

    def slots(self, x: Any) -> dict[str, Any]:
        return {"m": tfopt.zeros(x)}

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        return x - h.learning_rate * tf.sign(g)


@tfopt.register
class SlowAdam(tfopt.Adam, shared=True):
    learning_rate = tfopt.Hyper(1e-4, low=0)
    speed = tfopt.Hyper(1.0, low=0)

    if TYPE_CHECKING:  # a subclass that declares more than the class which it changes

        def __init__(self, *args: Any, speed: ScalarOrSchedule = 1.0, **kwargs: Any) -> None: ...


class Halfway(tfopt.Wrapper):
    part = tfopt.Hyper(0.5, low=0, high=1)

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        return x + h.part * (super().update(g, x, s, h) - x)


class OldStyle(tfopt.legacy.Adam):
    def __init__(self, learning_rate: float = 0.01, name: str = "OldStyle", **kwargs: Any) -> None:
        super().__init__(learning_rate, name=name, **kwargs)
        self._set_hyper("beta", 0.9)

    def _resource_apply_dense(self, grad: Any, var: Any, apply_state: Any = None) -> Any:
        return var.assign_sub(self._get_hyper("beta") * grad)


class WrongName(tfopt.Adamm):  # wrong: there is no such optimizer
    pass


class WrongUpdate(tfopt.Optimizer):
    def update(self, g: Any, x: Any) -> Any:  # wrong: without slots and numbers
        return x - g


class WrongBound(tfopt.Optimizer):
    learning_rate = tfopt.Hyper(0.1, lowest=0)  # wrong: a misspelt bound


def own_optimizers() -> None:
    tfopt.register(SignSGD)
    SignSGD(0.1, nesterov=True, weight_decay=0.01)
    assert_type(SlowAdam(speed=0.5), SlowAdam)
    Halfway(SignSGD(), part=0.25)
    OldStyle(0.1, clipnorm=1.0).get_slot_names()
    SignSGD(0.1).learning_rate = 0.2
    SignSGD(weight_decay="0.01")  # wrong: a string for a shared number
    SlowAdam(speed="full")  # wrong: a string for a number
    Halfway(part=0.25)  # wrong: around nothing
    SignSGD().learning_rate = "fast"  # wrong: a string for a number
    tfopt.legacy.Adam(amsgrad="yes")  # wrong: a string for a bool
    own: Mapping[str, type[tfopt.Optimizer]] = {"sign": SignSGD, "old": OldStyle}
    tfopt.Hyper()  # wrong: without a default
    del own
