"""What a mistake is answered with: the argument, the rule and the value, and the line to write.

Each row is a call that a newcomer makes, the exception or warning, and the parts of its text that
teach. Nothing here trains a model: constructors and eager calls only.
"""

import copy
import pickle
import re
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt._declarations import other_libraries

V = tf.Variable([1.0, 2.0], name="kernel")
U = tf.Variable([3.0, 4.0])  # without a name
WHOLE = tf.Variable([1, 2], name="whole")
G = tf.constant([0.125, 0.25])
CosineDecay = tfopt.schedules.CosineDecay
WARNING = tfopt.TfoptWarning


def apply(pairs, optimizer=None, **options):
    return (optimizer or tfopt.SGD(0.1)).apply_gradients(pairs, **options)


def built(optimizer, variables=(V,)):
    optimizer.build(list(variables))
    return optimizer


def assigned(optimizer, name, value=0.1):
    setattr(optimizer, name, value)
    return optimizer


def model_of(cls):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="head")])
    model.compile(cls, "mse")
    model.optimizer.build(model.trainable_variables)
    return model


RANGES = {
    "negative rate": (
        lambda: tfopt.SGD(-0.1),
        ValueError,
        "`learning_rate` must be >= 0",
        "got -0.1",
    ),
    "NaN": (lambda: tfopt.SGD(np.nan), ValueError, "`learning_rate` must be >= 0; got nan"),
    "infinity": (lambda: tfopt.SGD(np.inf), ValueError, "`learning_rate` must be at most", "inf"),
    "None": (lambda: tfopt.SGD(None), TypeError, "`learning_rate` must not be None"),
    "a bool": (lambda: tfopt.SGD(True), TypeError, "`learning_rate` must be a number", "got True"),
    "a string": (lambda: tfopt.SGD("1e-3"), TypeError, "`learning_rate` must be a number", "1e-3"),
    "a list": (lambda: tfopt.SGD([0.1]), TypeError, "`learning_rate` must be a number", "[0.1]"),
    "a dict": (lambda: tfopt.SGD({"a": 1}), TypeError, "`learning_rate` must be", "{'a': 1}"),
    "a vector": (
        lambda: tfopt.SGD(G),
        ValueError,
        "`learning_rate` must be a scalar of a float dtype; got a float32 tensor of shape (2,)",
    ),
    "an array": (
        lambda: tfopt.SGD(np.ones(3)),
        TypeError,
        "`learning_rate` must be a number",
        "a float64 array of shape (3,)",
    ),
    "beta_1": (
        lambda: tfopt.Adam(beta_1=1.0),
        ValueError,
        "`beta_1` must be >= 0 and < 1",
        "1.0",
    ),
    "beta_2": (lambda: tfopt.Adam(beta_2=-0.1), ValueError, "`beta_2` must be", "got -0.1"),
    "epsilon": (lambda: tfopt.Adam(epsilon=-1), ValueError, "`epsilon` must be >= 0; got -1"),
    "momentum": (lambda: tfopt.SGD(momentum=1.5), ValueError, "`momentum` must be", "got 1.5"),
    "momentum None": (lambda: tfopt.SGD(momentum=None), TypeError, "`momentum` must not be None"),
    "clipnorm": (lambda: tfopt.SGD(clipnorm=-1.0), ValueError, "`clipnorm` must be >= 0", "-1.0"),
    "decay": (lambda: tfopt.SGD(weight_decay=-1), ValueError, "`weight_decay` must be >= 0", "-1"),
    "jit_compile": (
        lambda: tfopt.SGD(jit_compile="no"),
        ValueError,
        "`jit_compile` must be one of 'auto', True, False; got 'no'",
    ),
    "use_ema": (lambda: tfopt.SGD(use_ema=1), TypeError, "`use_ema` must be True or False; got 1"),
    "ema_momentum": (
        lambda: tfopt.SGD(use_ema=True, ema_momentum=1.5),
        ValueError,
        "`ema_momentum` must be >= 0 and <= 1; got 1.5",
    ),
    "amsgrad": (lambda: tfopt.Adam(amsgrad="yes"), TypeError, "`amsgrad` must be True or False"),
    "no window": (
        lambda: tfopt.SGD(gradient_accumulation_steps=0),
        ValueError,
        "`gradient_accumulation_steps` must be >= 1; got 0",
    ),
    "half a window": (
        lambda: tfopt.SGD(gradient_accumulation_steps=2.5),
        TypeError,
        "`gradient_accumulation_steps` must be a whole number or None; got 2.5",
    ),
    "two norms": (
        lambda: tfopt.SGD(clipnorm=1.0, global_clipnorm=2.0),
        ValueError,
        "`clipnorm` and `global_clipnorm` cannot both be set; got 1.0 and 2.0",
    ),
    "no decay in Ftrl": (
        lambda: tfopt.Ftrl(weight_decay=0.1),
        ValueError,
        "`weight_decay` must be None",
        "no effect in Ftrl",
        "0.1",
    ),
    "lazy LAMB": (lambda: tfopt.LAMB(lazy=True), ValueError, "`lazy` must not be True: LAMB"),
    "an empty name": (lambda: tfopt.SGD(name=""), ValueError, "`name` must be a non-empty string"),
    "transformers": (
        lambda: tfopt.SGD(gradient_transformers=[3]),
        TypeError,
        "`gradient_transformers` must be a list of functions; got [3]",
    ),
    "no steps": (lambda: CosineDecay(0.1, 0), ValueError, "`decay_steps` must be", "got 0"),
    "no target": (
        lambda: CosineDecay(0.1, 10, warmup_steps=10),
        ValueError,
        "`warmup_target`",
        "`warmup_steps`",
    ),
    "twice": (
        lambda: tfopt.SGD(0.1, lr=0.2),
        TypeError,
        "`learning_rate` was given twice (learning_rate and lr are one): 0.1 and 0.2",
    ),
    "too many": (
        lambda: tfopt.SGD(0.1, 0.9, True, "mine"),
        TypeError,
        "SGD takes at most 3 positional arguments (learning_rate, momentum, nesterov); got 4",
    ),
}
KEYWORDS = {
    "near": (
        lambda: tfopt.Adam(beta1=0.9),
        TypeError,
        "Adam has no keyword `beta1`; got beta1=0.9. Did you mean `beta_1`?",
        "Its own keywords are learning_rate (or lr), beta_1, beta_2, epsilon, amsgrad.",
        "All optimizers take",
    ),
    "misspelt": (lambda: tfopt.SGD(learning_rat=0.1), TypeError, "Did you mean `learning_rate`?"),
    "shared": (lambda: tfopt.SGD(clip_norm=0.1), TypeError, "Did you mean `clipnorm`?"),
    "eps": (lambda: tfopt.Adam(eps=1e-8), TypeError, "Did you mean `epsilon`?"),
    "b1": (lambda: tfopt.Adam(b1=0.9), TypeError, "Did you mean `beta_1`?"),
    "betas": (
        lambda: tfopt.Adam(betas=(0.9, 0.99)),
        TypeError,
        "got betas=(0.9, 0.99). Write betas=(a, b) as beta_1=a, beta_2=b.",
    ),
    "wd": (lambda: tfopt.Adam(wd=0.1), TypeError, "Did you mean `weight_decay`?"),
    "grad_clip": (lambda: tfopt.Adam(grad_clip=1), TypeError, "Did you mean `global_clipnorm`?"),
    "alpha": (lambda: tfopt.RMSprop(alpha=0.9), TypeError, "Did you mean `rho`?"),
    "momentum of Adam": (lambda: tfopt.Adam(momentum=0.9), TypeError, "`beta_1` is the part of"),
    "momentum of Adagrad": (lambda: tfopt.Adagrad(momentum=0.9), TypeError, "It has no momentum."),
    "lr_scheduler": (
        lambda: tfopt.Adam(lr_scheduler=CosineDecay(0.1, 10)),
        TypeError,
        "Pass the schedule as `learning_rate`, such as learning_rate=tfopt.schedules.CosineDecay(",
    ),
    "an unknown word": (lambda: tfopt.SGD(xyzzy=1), TypeError, "SGD has no keyword `xyzzy`"),
    "variables first": (
        lambda: tfopt.Adam([V, U]),
        TypeError,
        "takes no variables in its constructor: pass them to `apply_gradients(zip(gradients",
        "[the variable `kernel`, the variable `Variable`] for Adam",
    ),
    "variables and lr": (lambda: tfopt.Adam([V], lr=0.1), TypeError, "takes no variables"),
    "params": (lambda: tfopt.Adam(params=[V]), TypeError, "`params`", "takes no variables"),
    "a model": (lambda: tfopt.Adam(keras.Sequential()), TypeError, "takes no variables", "Sequent"),
    "a class": (
        lambda: tfopt.Adam(CosineDecay),
        TypeError,
        "`learning_rate` must be a schedule, not its class; got CosineDecay.",
        "Write learning_rate=CosineDecay(...)",
    ),
    "a misspelt name": (
        lambda: tfopt.get("adamm"),
        ValueError,
        "Unknown optimizer: 'adamm'. Did you mean `Adam`? Registered are",
    ),
    "no identifier": (lambda: tfopt.get(3), ValueError, "identifier: 3. It must be the name of"),
    "no config": (lambda: tfopt.get({"k": "adam"}), ValueError, "`class_name`", "{'k': 'adam'}"),
}
STEPS = {
    "swapped": (
        lambda: apply([(G, U), (V, G)]),
        TypeError,
        "the pair at index 1 is swapped: it has the variable `kernel` first, and a float32 tensor",
        "Write `apply_gradients(zip(gradients, variables))`.",
    ),
    "no zip": (
        lambda: apply(([G, G], [V, U])),
        TypeError,
        "got a list of gradients and a list of variables. Write `apply_gradients(zip(",
    ),
    "two arguments": (
        lambda: tfopt.SGD().apply_gradients([G], [V]),
        TypeError,
        "`name` must be a string or None; got [the variable `kernel`]. Write `apply_gradients(zip(",
        "or `apply(gradients, variables)`",
    ),
    "a constant": (
        lambda: apply([(G, tf.constant([1.0, 2.0]))]),
        TypeError,
        "must hold a variable second in each pair; the pair at index 0 has a float32 tensor of",
        "An optimizer changes variables only",
    ),
    "a number": (lambda: apply([(G, 1.0)]), TypeError, "a variable second", "has float 1.0"),
    "gradients alone": (lambda: apply([G, G]), TypeError, "gradients without variables", "zip("),
    "variables alone": (lambda: apply([V, U]), TypeError, "variables without gradients", "zip("),
    "a tensor": (
        lambda: apply(G),
        TypeError,
        "must list (gradient, variable) pairs",
        "a float32",
    ),
    "nothing": (lambda: apply(None), TypeError, "must list (gradient, variable) pairs; got None"),
    "three": (lambda: apply([(G, V, 1)]), TypeError, "at index 0 is (a float32 tensor of shape"),
    "a shape": (
        lambda: apply([(tf.ones([3]), V)]),
        ValueError,
        "The gradient of `kernel` must have shape (2,); got (3,)",
    ),
    "a shape without a name": (
        lambda: apply([(G, V), (tf.ones([3]), U)]),
        ValueError,
        "The gradient of `Variable (index 1)` must have shape (2,); got (3,)",
    ),
    "a dtype": (
        lambda: apply([(tf.constant([1, 2]), V)]),
        ValueError,
        "The gradient of `kernel` must be of dtype float32; got int32",
    ),
    "a string": (lambda: apply([("up", V)]), TypeError, "`kernel` must be a tensor", "str 'up'"),
    "an integer variable": (
        lambda: apply([(G, WHOLE)]),
        ValueError,
        "Variable `whole` must be floating-point",
        "got int32",
    ),
    "no gradients": (
        lambda: apply([(None, V), (None, U)]),
        ValueError,
        "No gradients provided for any variable: kernel, Variable (index 1).",
    ),
    "apply before build": (
        lambda: tfopt.SGD().apply([G]),
        ValueError,
        "`trainable_variables` must be given until the optimizer has seen variables",
        "Write `apply(grads, variables)`, or call `build(variables)` first.",
    ),
    "too few gradients": (
        lambda: tfopt.SGD().apply([G], [V, U]),
        ValueError,
        "`grads` must have a gradient for each of 2 variables; got 1",
    ),
    "no variables": (
        lambda: tfopt.SGD().minimize(lambda: tf.reduce_sum(V)),
        TypeError,
        "`var_list` must be given",
        "Write `minimize(loss, model.trainable_variables)`",
    ),
    "no tape": (
        lambda: tfopt.SGD().minimize(tf.reduce_sum(G), [V]),
        ValueError,
        "`tape` must be given when `loss` is no function; got a float32 tensor of shape () and no",
    ),
    "minimize a constant": (
        lambda: tfopt.SGD().minimize(lambda: tf.reduce_sum(V), [G]),
        ValueError,
        "`var_list` must hold variables; got a float32 tensor of shape (2,)",
    ),
    "a word for a rate": (
        lambda: tfopt.SGD(lambda: "fast").learning_rate,
        TypeError,
        "`learning_rate` must be a function that returns a number; it has returned str 'fast'",
    ),
    "no rate": (lambda: tfopt.SGD(lambda: None).learning_rate, TypeError, "NoneType None"),
    "a transformer": (
        lambda: apply([(G, V)], tfopt.SGD(gradient_transformers=[lambda pairs: [("up", V)]])),
        TypeError,
        "gradient_transformers",
        "`kernel` must be a tensor",
    ),
    "no slot": (
        lambda: built(tfopt.Adam()).get_slot(V, "momentum"),
        KeyError,
        "Variable `kernel` has no slot `momentum`; it has ['m', 'v']",
    ),
    "a slot of a constant": (
        lambda: tfopt.SGD().get_slot(G, "m"),
        KeyError,
        "variable: a float32",
    ),
    "too many weights": (
        lambda: built(tfopt.Adam()).set_weights([1, 2]),
        ValueError,
        "weights",
        "3",
        "2",
    ),
    "weights of another shape": (
        lambda: built(tfopt.SGD(momentum=0.5)).set_weights([1, np.ones([3])]),
        ValueError,
        "(2,)",
        "(3,)",
    ),
    "a limit too late": (
        lambda: assigned(built(tfopt.SGD()), "clipnorm", 1.0),
        ValueError,
        "`clipnorm` cannot change from None once slots exist",
        "got 1.0",
    ),
    "iterations": (
        lambda: assigned(tfopt.SGD(), "iterations", G),
        TypeError,
        "`iterations` must be an integer tf.Variable; got a float32 tensor of shape (2,)",
    ),
    "groups": (
        lambda: tfopt.SGD(groups=[(V, {"learning_rat": 1.0})]),
        TypeError,
        "`groups` can change",
        "got 'learning_rat'",
    ),
    "other groups": (
        lambda: assigned(tfopt.SGD(), "groups", [(V, {"learning_rate": 1.0})]),
        AttributeError,
        "`groups` is fixed when the optimizer is made. Change a number as "
        '`optimizer.groups[0]["learning_rate_factor"] = 0.1`, or make a new optimizer.',
    ),
    "one more group": (
        lambda: tfopt.SGD().groups.append((V, {"learning_rate": 1.0})),
        AttributeError,
        "`groups` is fixed when the optimizer is made.",
    ),
    "no members": (
        lambda: tfopt.SGD(weight_decay=0.1, exclude_from_weight_decay=[G]),
        TypeError,
        "`exclude_from_weight_decay` must hold variables, layers, regular expressions",
        "got a float32 tensor of shape (2,)",
    ),
    "no expression": (
        lambda: tfopt.Muon(exclude_layers=["("]),
        ValueError,
        "`exclude_layers` must hold regular expressions; got '('",
    ),
}
WARNINGS = {
    "nesterov": (
        lambda: tfopt.SGD(nesterov=True),
        WARNING,
        "nesterov=True of SGD has no effect without `momentum`",
    ),
    "averages": (
        lambda: tfopt.Adam(ema_momentum=0.9, ema_overwrite_frequency=10),
        WARNING,
        "ema_momentum=0.9 and ema_overwrite_frequency=10 of Adam have no effect without `use_ema`",
    ),
    "when averages begin": (
        lambda: tfopt.Adam(ema_start_step=3, ema_dynamic_decay=True),
        WARNING,
        "ema_dynamic_decay=True and ema_start_step=3",
    ),
    "exclusions": (
        lambda: tfopt.SGD(exclude_from_weight_decay=["bias"]),
        WARNING,
        "exclude_from_weight_decay=['bias'] of SGD has no effect without `weight_decay`",
    ),
    "a threshold": (
        lambda: tfopt.AdaBelief(rectify=False, sma_threshold=6.0),
        WARNING,
        "sma_threshold=6.0 of AdaBelief has no effect without `rectify`",
    ),
    "exclusions of nothing": (
        lambda: built(tfopt.AdamW(exclude_from_weight_decay=["baias"])),
        WARNING,
        "`exclude_from_weight_decay` has 'baias', which none of the variables matches: kernel",
    ),
    "one exclusion of nothing": (
        lambda: built(tfopt.AdamW(exclude_from_weight_decay=["Variable", "kernal"]), [V, U]),
        WARNING,
        "`exclude_from_weight_decay` has 'kernal', which none of the variables matches: kernel",
    ),
    "a group of nothing": (
        lambda: built(tfopt.SGD(groups={"hed": {"learning_rate": 0.1}})),
        WARNING,
        "`groups` has 'hed', which none of the variables matches: kernel. If its variables come",
        "such as those of a layer that is frozen until then, ignore this warning.",
    ),
    "a role of nothing": (
        lambda: built(tfopt.Muon(roles={"hed": "adamw"})),
        WARNING,
        "`roles` has 'hed', which none of the variables matches: kernel",
    ),
    "layers of nothing": (
        lambda: built(tfopt.Muon(exclude_layers=["hed"])),
        WARNING,
        "`exclude_layers` has 'hed', which none of the variables matches: kernel",
    ),
    "an attribute": (
        lambda: assigned(tfopt.SGD(), "learning_rte"),
        WARNING,
        "SGD has no `learning_rte`, so learning_rte=0.1 has no effect. Did you mean `learning_rate",
    ),
    "a foreign attribute": (
        lambda: assigned(tfopt.LossScaleOptimizer(tfopt.Adam()), "eps"),
        WARNING,
        "Adam has no `eps`",
        "Did you mean `epsilon`?",
    ),
    "some gradients": (
        lambda: apply([(None, V), (G, U)]),
        WARNING,
        "No gradients for the variables kernel",
    ),
    "a zip read twice": (
        lambda: [(list(pairs), apply(pairs)) for pairs in [zip([G], [V], strict=True)]],
        WARNING,
        "`grads_and_vars` is an iterator without pairs: no variable changes",
    ),
    "a variable twice": (
        lambda: apply([(G, V), (G, U), (G, V)]),
        WARNING,
        "is given kernel more than once in one call: each gradient makes a step",
    ),
}


def declaring(**attributes):
    """Makes a class as a user writes it."""
    return lambda: type("Mine", (tfopt.Optimizer,), attributes)


class Reads(tfopt.Optimizer):
    """Reads in `begin` or `update` what a test gives it."""

    learning_rate = tfopt.Hyper(0.1, low=0)
    momentum = tfopt.Hyper(0.0, low=0, off=0.0)
    flag = tfopt.Static(True)

    def __init__(self, update, begin=lambda h, state: None, **arguments):
        super().__init__(jit_compile=False, **arguments)
        self._reads = begin, update

    def slots(self, x):
        return {"m": tfopt.zeros(x), "velocity": tfopt.zeros(x)}

    def begin(self, h, state):
        self._reads[0](h, state)

    def update(self, g, x, s, h):
        return self._reads[1](x, s, h)


def reading(update, begin=lambda h, state: None):
    return lambda: apply([(G, V)], Reads(update, begin))


FORMULAS = {
    "a slot": (
        reading(lambda x, s, h: x - s.mm),
        AttributeError,
        "`s.mm` does not exist in Reads: `slots` declares m, velocity.",
    ),
    "a slot that is near": (
        reading(lambda x, s, h: x - s.velocty),
        AttributeError,
        "`slots` declares velocity, m.",
    ),
    "a hyperparameter": (
        reading(lambda x, s, h: x - h.learningrate),
        AttributeError,
        "`h.learningrate` does not exist in Reads: `h` has learning_rate, ",
    ),
    "a static": (
        reading(lambda x, s, h: x if h.flag else s.m),
        AttributeError,
        "`h.flag` does not exist in Reads: `flag` is Static: read `self.flag`.",
    ),
    "what is off": (
        reading(lambda x, s, h: x - h.momentum),
        AttributeError,
        '`h.momentum` does not exist in Reads: `momentum` is off: read it only if `self.uses("mom',
    ),
    "in begin": (
        reading(lambda x, s, h: x, lambda h, state: h.flag),
        AttributeError,
        "`flag` is Static: read `self.flag`.",
    ),
    "the state": (
        reading(lambda x, s, h: x, lambda h, state: state.count),
        AttributeError,
        "`state.count` does not exist in Reads: `state` declares nothing.",
    ),
    "None": (
        reading(lambda x, s, h: None),
        TypeError,
        "`update` of Reads must return the new value of the variable; it returned None.",
    ),
}
NAMES = {
    "an attribute": (
        declaring(iterations=tfopt.Hyper(5.0)),
        AttributeError,
        "Mine cannot declare `iterations`: `iterations` is an attribute of every optimizer; "
        "choose another name.",
    ),
    "a list": (declaring(weights=tfopt.Static(False)), AttributeError, "`weights` is an attribute"),
    "the name": (declaring(name=tfopt.Static("a")), AttributeError, "`name` is an attribute of"),
    "a formula": (declaring(sparse=tfopt.Static("rows")), AttributeError, "`sparse` is an attrib"),
    "groups": (declaring(groups=tfopt.Static(2)), AttributeError, "`groups` is an attribute of"),
    "the step": (
        declaring(t=tfopt.Hyper(1.0)),
        AttributeError,
        "`h.t` is the number of the step; choose another name.",
    ),
    "cautious": (
        declaring(cautious=tfopt.Static(False)),
        AttributeError,
        "`cautious` is a keyword of every optimizer; declare `can_be_cautious = True` to allow it.",
    ),
    "decay": (
        declaring(decay=tfopt.Hyper(0.9, low=0)),
        AttributeError,
        "`decay` is a keyword of every optimizer: the learning rate is divided by 1 + decay *",
    ),
    "another kind": (
        declaring(clipnorm=tfopt.Static(1.0)),
        AttributeError,
        "`clipnorm` is a keyword of every optimizer; choose another name, or declare it as a Hyper",
    ),
    "an alias": (declaring(use_ema=tfopt.hyper.Alias("lr")), AttributeError, "declare it as a Sta"),
    "nothing new": (
        declaring(use_ema=tfopt.Static(False)),
        AttributeError,
        "`use_ema` is a keyword of every optimizer; leave the declaration out, or choose another",
    ),
}
CASES = {
    **RANGES,
    **KEYWORDS,
    **{f"step: {n}": c for n, c in STEPS.items()},
    **{f"name: {n}": c for n, c in NAMES.items()},
    **{f"formula: {n}": c for n, c in FORMULAS.items()},
}
DUMPED = r"numpy=|<tf\.|array\(|ResourceVariable|Minimizer|KerasOptimizer|Configurable|StateMethods"


@pytest.mark.parametrize("case", CASES)
def test_an_error_says_what_is_wrong(case):
    call, kind, *parts = CASES[case]
    with pytest.raises(kind) as error:
        call()
    text = str(error.value)
    assert [part for part in parts if part not in text] == [], text
    assert not re.search(DUMPED, text), text


@pytest.mark.parametrize("case", WARNINGS)
def test_a_warning_says_what_has_no_effect(case):
    call, kind, *parts = WARNINGS[case]
    with pytest.warns(kind) as given:
        call()
    (text,) = (str(each.message) for each in given)
    assert [part for part in parts if part not in text] == [], text
    assert not re.search(DUMPED, text), text


def test_many_cases_are_answered():
    assert len(CASES) + len(WARNINGS) >= 81


def test_update_may_ask_whether_there_is_a_name():
    seen = []
    call = reading(lambda x, s, h: seen.append((hasattr(s, "n"), getattr(h, "n", 2))) or x)
    call()
    assert seen == [(False, 2)]


def test_other_defaults_of_inherited_keywords_are_declared():
    class Mine(tfopt.AdamW):
        learning_rate = tfopt.Hyper(0.25, low=0)
        beta_1 = tfopt.Hyper(0.5, low=0, below=1)
        weight_decay = tfopt.Hyper(None, low=0, off=None)
        jit_compile = tfopt.Static(False, choices=("auto", True, False))
        cautious = tfopt.Static(True)

    mine = Mine()
    assert (mine.learning_rate, mine.weight_decay, mine.cautious) == (0.25, None, True)
    assert mine.jit_compile is False


def test_a_warning_points_at_a_module_of_the_user_that_is_called_as_one_of_pythons():
    code = compile("make(nesterov=True)", "code.py", "exec")
    with pytest.warns(tfopt.TfoptWarning) as caught:
        exec(code, {"__name__": "code", "make": tfopt.SGD})
    assert [each.filename for each in caught] == ["code.py"]


def test_a_warning_points_at_the_line_of_the_user():
    """Whether a step, `build` or a function is called there, which run tfopt inside of contexts."""

    def pattern():
        return tfopt.SGD(weight_decay=0.1, exclude_from_weight_decay=["nothing"])

    built_one, traced, converted, fitted = pattern(), pattern(), pattern(), pattern()
    function = tf.function(lambda: apply([(G, V)], traced), autograph=False)

    @tf.function
    def by_autograph():
        converted.apply_gradients([(G, V)])

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(fitted, "mse")
    x = np.ones([4, 2])
    calls = (
        lambda: built_one.build([V]),
        lambda: pattern().apply_gradients([(G, V)]),
        function,
        by_autograph,
        lambda: model.fit(x, x[:, :1], verbose=0),
    )
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        for call in calls:
            call()
    of_tfopt = [w for w in given if issubclass(w.category, tfopt.TfoptWarning)]
    assert [each.filename for each in of_tfopt] == [__file__] * len(calls)


# --- where nothing is said ------------------------------------------------------------------------


def warnings_of(call):
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        call()
    return [str(each.message) for each in given if issubclass(each.category, tfopt.TfoptWarning)]


class Mine(tfopt.SGD):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.learning_rte = 0.1


QUIET = {
    "a config": lambda: tfopt.SGD.from_config({"nesterov": True, "ema_momentum": 0.9}),
    "a config by name": lambda: tfopt.get({"class_name": "SGD", "config": {"nesterov": True}}),
    "a default": lambda: tfopt.SGD(nesterov=False, ema_momentum=0.99, use_ema=False),
    "a class of the user's": lambda: assigned(Mine(), "momentun"),
    "an attribute that is near to nothing": lambda: assigned(tfopt.Adam(), "tag", "second run"),
    "an attribute with an underscore": lambda: assigned(tfopt.Adam(), "_learning_rte"),
    "a number over a schedule": lambda: assigned(tfopt.SGD(CosineDecay(0.1, 9)), "learning_rate"),
    "exclusions for models of many kinds": lambda: built(
        tfopt.AdamW(exclude_from_weight_decay=["LayerNorm", "Variable", "bias"]), [V, U]
    ),
    "an empty list": lambda: apply([]),
    "decay of a part": lambda: tfopt.MultiOptimizer(
        {"kernel": tfopt.AdamW()}, tfopt.SGD(), exclude_from_weight_decay=["bias"]
    ),
    "decay of an inner optimizer": lambda: tfopt.Lookahead(
        tfopt.AdamW(), exclude_from_weight_decay=["bias"]
    ),
}


@pytest.mark.parametrize("case", QUIET)
def test_nothing_is_said_where_nothing_is_wrong(case):
    assert warnings_of(QUIET[case]) == []


def test_nothing_is_said_of_a_copy_of_what_was_warned_of():
    with pytest.warns(WARNING):
        optimizer = assigned(tfopt.SGD(), "learning_rte")
    with pytest.warns(WARNING):
        nesterov = tfopt.SGD(nesterov=True)
    copies = (copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o)))
    assert warnings_of(lambda: [twin(o) for o in (optimizer, nesterov) for twin in copies]) == []
    assert copy.deepcopy(optimizer).learning_rte == 0.1


def test_a_loaded_model_says_nothing_of_its_keywords(tmp_path):
    with pytest.warns(WARNING):
        model = model_of(tfopt.SGD(nesterov=True))
    model.save(tmp_path / "model.keras")
    assert warnings_of(lambda: keras.models.load_model(tmp_path / "model.keras")) == []


def test_a_name_is_listed_once():
    with pytest.raises(ValueError) as error:
        tfopt.get("adamm")
    names = str(error.value).partition("Registered are ")[2].rstrip(".").split(", ")
    assert names == sorted(set(names)) and set(tfopt.optimizers.__all__) <= set(names)


def test_every_word_of_another_library_means_something():
    known = {name for n in tfopt.optimizers.__all__ for name in getattr(tfopt, n)._declared.fields}
    known |= {*tfopt.SGD._declared.keywords}
    for word, meanings in other_libraries.WORDS.items():
        for meaning in meanings:
            names = [meaning] if isinstance(meaning, str) else meaning[0]
            assert set(names) <= known, word


# --- checkpoints ----------------------------------------------------------------------------------


def test_a_checkpoint_of_another_optimizer_names_both(tmp_path):
    x, optimizer = tf.Variable([1.0]), tfopt.Adam()
    built(optimizer, [x])
    path = tf.train.Checkpoint(x=x, optimizer=optimizer).save(tmp_path / "adam")
    for other in (tfopt.AdaBelief(), built(tfopt.SGD(1e-3), [x])):  # one has the same slots
        texts = warnings_of(
            lambda other=other: (
                tf.train.Checkpoint(x=x, optimizer=other).restore(path),
                built(other, [x]),
            )
        )
        name = type(other).__name__
        assert len(texts) == 1 and f"was saved by Adam and is restored into {name}" in texts[0]


def test_a_checkpoint_without_slots_names_both_and_the_rate_that_it_changes(tmp_path):
    x, optimizer = tf.Variable([1.0]), built(tfopt.SGD(0.25), [V])
    path = tf.train.Checkpoint(optimizer=optimizer).save(tmp_path / "sgd")
    other = tfopt.Adam(0.5)
    texts = warnings_of(
        lambda: (tf.train.Checkpoint(optimizer=other).restore(path), built(other, [x]))
    )
    assert "was saved by SGD and is restored into Adam" in texts[0]
    assert "`learning_rate` was 0.5 and is 0.25" in texts[1] and len(texts) == 2


def test_an_own_name_and_a_subclass_are_no_other_optimizer(tmp_path):
    x, saved = tf.Variable([1.0]), built(tfopt.Adam(1e-3, name="SGD_of_mine"), [V])
    path = tf.train.Checkpoint(optimizer=saved).save(tmp_path / "mine")
    for other in (tfopt.Adam(1e-3), tfopt.Adam(1e-3, name="other")):
        checkpoint = tf.train.Checkpoint(optimizer=other)
        assert warnings_of(lambda c=checkpoint, o=other: (c.restore(path), built(o, [x]))) == []


# --- repr -----------------------------------------------------------------------------------------


def test_the_repr_has_groups_as_they_are_given():
    rate = {"learning_rate_factor": 0.1}
    assert "groups={'base': {'learning_rate_factor': 0.1}})" in repr(
        tfopt.SGD(groups={"base": rate})
    )
    several = tfopt.SGD(groups=[(V, rate), {("a", "b"): {"learning_rate": 0.5}}])
    assert "groups=[(`kernel`, {'learning_rate_factor': 0.1}), " in repr(several)
    assert "(['a', 'b'], {'learning_rate': 0.5})])" in repr(several)
    assert "groups=" not in repr(tfopt.SGD())


def test_the_repr_has_that_of_a_schedule():
    ours, theirs = CosineDecay(0.1, 10), keras.optimizers.schedules.CosineDecay(0.1, 10)
    assert f"learning_rate={ours!r}," in repr(tfopt.SGD(ours))
    assert "learning_rate=CosineDecay(initial_learning_rate=0.1," in repr(tfopt.SGD(theirs))
    around = repr(tfopt.Lookahead(tfopt.SGD(ours)))
    assert "inner_optimizer=tfopt.SGD(name='SGD', learning_rate=CosineDecay(" in around
    assert "registered_name" not in around
