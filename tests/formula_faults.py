"""Faults in formulas: one change in the source of an optimizer at a time.

A fault exchanges an operator, a decay rate or the branches of a choice, leaves a function out, or
moves a constant. The optimizer then runs without its engine, so that a fault takes milliseconds.
"""

import ast
import inspect
import sys
import textwrap
import types

import numpy as np
import tensorflow as tf
from training import gradients, start, values_of

STEPS = 9
SHAPES = [(5, 3), (3, 5), (4,)]
EXCHANGED = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
}
DECAYS = ("beta_1", "beta_2", "beta_3", "adam_beta_1", "adam_beta_2", "rho", "momentum")
LEFT_OUT = ("sqrt", "sign", "abs", "square", "norm", "transpose")  # f(x) becomes x


def places(tree):
    """The places where a fault can be, each with a function that makes it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and type(node.op) in EXCHANGED:
            yield node, _exchange_operator
        elif isinstance(node, ast.Attribute) and node.attr in DECAYS and _is_number(node):
            yield node, _exchange_decay
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in LEFT_OUT and len(node.args) == 1:
                yield node, _leave_out
            elif node.func.attr in ("maximum", "minimum"):
                yield node, _other_extreme
            elif node.func.attr == "where":
                yield node, _other_branch
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
            yield node, _move_constant


def _is_number(node):
    return isinstance(node.value, ast.Name) and node.value.id == "h"


def _exchange_operator(node):
    node.op = EXCHANGED[type(node.op)]()


def _exchange_decay(node):
    node.attr = "decay_exchanged"


def _leave_out(node):
    node.func = ast.Attribute(ast.Name("tf", ast.Load()), "identity", ast.Load())


def _other_extreme(node):
    node.func.attr = {"maximum": "minimum", "minimum": "maximum"}[node.func.attr]


def _other_branch(node):
    node.args[1], node.args[2] = node.args[2], node.args[1]


def _move_constant(node):
    node.value = node.value + 1


def functions_of(cls):
    """The functions of tfopt that make the formula of a class, with the place that holds each."""
    for base in cls.__mro__:
        if not base.__module__.startswith("tfopt.optimizers."):
            continue
        for name in ("begin", "weigh", "move", "update", "evaluated"):
            if name in vars(base) and getattr(cls, name) is vars(base)[name]:
                yield base, name
        module = sys.modules[base.__module__]
        for name, value in vars(module).items():
            if inspect.isfunction(value) and value.__module__.startswith("tfopt.optimizers."):
                yield module, name


def faults(holder, name):
    """Versions of a function, each with one fault, and where it is."""
    function = getattr(holder, name)
    source = textwrap.dedent(inspect.getsource(function))
    count = len(list(places(ast.parse(source))))
    for number in range(count):
        tree = ast.parse(source)
        node, make = list(places(tree))[number]
        before = ast.unparse(node)
        make(node)
        text = f"{name}, line {node.lineno}: {before} -> {ast.unparse(node)}"
        # Methods with `super()` keep the class in which they are.
        scope = vars(sys.modules[function.__module__]).copy()
        if inspect.isclass(holder):
            scope["super"] = _super_of(holder)
        exec(compile(ast.fix_missing_locations(tree), "<fault>", "exec"), scope)
        yield text, scope[name]


def _super_of(holder):
    def find():
        caller = sys._getframe(1).f_locals
        return super(holder, caller["self"])

    return find


def run(case):
    """Yields the weights after each step of a row of the table, by the formula alone."""
    optimizer = case.make()
    variables = start(shapes=SHAPES)
    optimizer.build(variables)
    engine = optimizer._engine
    numbers = {name: tf.constant(v.number, tf.float64) for name, v in engine.hypers.items()
               if v.active and v.number is not None}  # fmt: skip
    state = types.SimpleNamespace(
        **{name: tf.constant(first, tf.float64) for name, first in optimizer.state.items()}
    )
    values = [tf.constant(value) for value in values_of(variables)]
    slots = [
        types.SimpleNamespace(
            **{
                name: tf.constant(optimizer.get_slot(v, name).numpy())
                for name in optimizer.get_slot_names()
                if _has(optimizer, v, name)
            }
        )
        for v in variables
    ]
    roles = [optimizer.role_of(v) for v in variables]
    for t, grads in enumerate(gradients(STEPS, shapes=SHAPES), start=1):
        scalars = {}
        for role in dict.fromkeys(roles):
            h = types.SimpleNamespace(**numbers, t=tf.constant(float(t), tf.float64), role=role)
            h.decay_exchanged = tf.constant(0.40625, tf.float64)
            if engine.uses("weight_decay"):
                h.weight_decay = numbers["weight_decay"]
            now = state if role == roles[0] else types.SimpleNamespace(**vars(state))
            optimizer.begin(h, now)
            scalars[role] = h
        for i, g in enumerate(grads):
            h = scalars[roles[i]]
            x = values[i]
            if optimizer.decays == "base" and engine.uses("weight_decay"):
                x = x - h.learning_rate * h.weight_decay * x
            values[i] = optimizer.update(tf.constant(g), x, slots[i], h)
        yield np.concatenate([np.ravel(value) for value in values])


def _has(optimizer, variable, name):
    try:
        optimizer.get_slot(variable, name)
    except KeyError:
        return False
    return True
