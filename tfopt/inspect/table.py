"""What an optimizer does with each variable, as Python objects."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfopt._engine import scalars, update_paths, variable_groups
from tfopt._engine.engine import Engine
from tfopt._engine.policy import Works
from tfopt._engine.step_records import Work, overwrites
from tfopt._engine.variable_groups import Group, Seen
from tfopt._libraries import dtensor, tf_variables
from tfopt._values.initial_values import Initial
from tfopt.inspect.argument_checks import unwrapped_optimizer
from tfopt.inspect.decay_reasons import why_undecayed
from tfopt.optimizer import Optimizer


@dataclasses.dataclass(frozen=True)
class Row:
    """What an optimizer does with one variable.

    Attributes:
        variable: the variable's path.
        shape: the variable's shape.
        dtype: the name of the variable's dtype.
        slots: the shape of each slot, by name.
        slot_bytes: how much memory one copy of the slots takes.
        decays: whether weight decay moves the variable.
        undecayed_because: why weight decay does not move it; empty if it does.
        sparse: what an `IndexedSlices` gradient does: "rows" (lazy: the gradient's rows only),
            "rows_move", "exact" or "whole".
        path: how a dense gradient is applied: "fused" (one TensorFlow kernel), "XLA" (compiled;
            where a step updates only a few small variables on a CPU, plain ops, which cost less),
            "plain" (separate ops: there is no XLA, or a debugger such as
            `tf.debugging.enable_check_numerics` watches ops, which XLA does not support), "hooks"
            (the optimizer's own `resource_apply_dense`), "overwritten" (with the gradient), or
            "off" (left alone, since the learning rate of its group is 0 from the start on).
        numbers: what its groups change, such as "learning_rate x 0.1", a factor, which follows the
            optimizer's own number, or "learning_rate = 0.1", a value, which does not.
        role: the part that the optimizer sees in it, if it treats parts differently.
    """

    variable: str
    shape: tuple[int | None, ...]
    dtype: str
    slots: dict[str, tuple[int | None, ...]]
    slot_bytes: int
    decays: bool
    sparse: str
    path: str
    numbers: tuple[str, ...] = ()
    role: str = ""
    undecayed_because: str = ""

    @property
    def parameters(self) -> int:
        """How many numbers the variable holds; 0 if its shape is not fully known."""
        return math.prod(size or 0 for size in self.shape)


def describe(optimizer: Any, variables: Any = None) -> list[Row]:
    """What an optimizer does, or would do, with each variable. Nothing is changed or created.

    Args:
        optimizer: one of tfopt's, or a loss-scale wrapper of one.
        variables: a model, or a list of variables; by default those that the optimizer has
            seen. They need not have slots yet.

    Returns:
        A row for each variable.

    Raises:
        TypeError: if `optimizer` is not one of tfopt's.
        ValueError: if there are no variables.

    >>> [row] = tfopt.inspect.describe(tfopt.Adam(), [tf.Variable(tf.zeros([2, 3]), name="w")])
    >>> row.variable, row.slots, row.slot_bytes, row.sparse, row.path
    ('w', {'m': (2, 3), 'v': (2, 3)}, 48, 'exact', 'fused')
    """
    optimizer = unwrapped_optimizer(optimizer)
    variables = getattr(variables, "trainable_variables", variables)
    variables = list(optimizer._trainable_variables if variables is None else variables)
    if not variables:
        raise ValueError(
            "`variables` must be a model or variables, as the optimizer has seen none yet; got "
            "none."
        )
    for original in variables:
        if not isinstance(tf_variables.unwrap(original), tf.Variable):
            raise TypeError(f"`variables` must be a model or variables; got {original!r}.")
    engine = optimizer._engine
    found = engine.groups.sort(variables).found
    seen = [found.get(tf_variables.key(v), engine.groups.of(v)) for v in variables]
    planned = _slots_and_paths(optimizer, variables, seen)
    return [
        _row(optimizer, known, slots, path)
        for known, (slots, path) in zip(seen, planned, strict=True)
    ]


def _row(optimizer: Optimizer, known: Seen, planned_slots: Mapping[str, Any], path: str) -> Row:
    original, group, role = known
    engine, variable = optimizer._engine, tf_variables.unwrap(original)
    slots = engine.state.slots.of(variable) or planned_slots
    undecayed_because = why_undecayed(optimizer, known)
    if path == "off":
        undecayed_because = undecayed_because or "its learning rate is 0"
    return Row(
        variable=tf_variables.variable_path(original),
        shape=tuple(variable.shape),
        dtype=variable.dtype.name,
        slots={name: tuple(slot.shape) for name, slot in slots.items()},
        slot_bytes=sum(s.dtype.size * (s.shape.num_elements() or 0) for s in slots.values()),
        decays=not undecayed_because,
        sparse=engine.rows_word(role),
        # The plan is made for a variable that is on no mesh.
        path="plain" if path == "XLA" and dtensor.is_on_mesh(variable) else path,
        numbers=tuple(_numbers(engine, group)),
        role=role,
        undecayed_because=undecayed_because,
    )


def _numbers(engine: Engine, group: Group) -> Iterator[str]:
    """Yields what each rule of a group changes."""
    for rule in group:
        for name, (base, what, _) in rule.numbers.items():
            number = engine.hypers[rule.names[name]]
            shown = f"{number.config():.6g}" if number.source is None else repr(number.source)
            yield f"{base} {'x' if what == 'factor' else '='} {shown}"


def _slots_and_paths(
    optimizer: Optimizer, originals: Sequence[Any], seen: Sequence[Seen]
) -> list[tuple[Mapping[str, Any], str]]:
    """The slots of each variable, and the path of its dense update, by the step's own plan.

    A copy of the optimizer makes the plan, for variables that stand in for the user's. Both are
    in a graph that never runs, where variables take no memory.
    """
    variables = list(map(tf_variables.unwrap, originals))
    if optimizer._engine.declared.is_hooked:
        return [(_declared_slots(optimizer, variable), "hooks") for variable in variables]
    with tf.Graph().as_default():
        engine, off = optimizer._engine.blank_copy(), optimizer._engine.groups.off()
        graph_variables = []
        for variable in variables:  # of a distributed one, the device is its first copy's
            with tf.device(str(getattr(variable, "device", "") or "")):
                graph_variables.append(_graph_variable_like(variable))
        engine.groups = optimizer._engine.groups.planned(graph_variables, seen, engine.state)
        engine.build(graph_variables)
        planned: list[tuple[Mapping[str, Any], str]] = []
        step = engine.step({}, aggregate=False)
        for x, original in zip(graph_variables, originals, strict=True):
            group, role = engine.groups.of(x)[1:]
            if overwrites(original) or off & set(group):
                planned.append(({}, "overwritten" if overwrites(original) else "off"))
                continue
            works: Works = [Work(tf.zeros_like(x), x, x, None, group, role=role)]
            for policy in step.policies:
                if policy.calls_functions_of_users:  # which leave no factor, and must not run here
                    works = [work._replace(clip_factor=None) for work in works]
                else:
                    works = policy.change_gradients(step, works)
            begun = scalars.add_scalars(step, variable_groups.keys_of(works))
            [((path, _, key), updates)] = update_paths.plan(begun, works).items()
            if isinstance(path, update_paths.Fused) and not path.accepts(
                updates[0], begun.scalars[key]
            ):
                path = update_paths.choose(engine.paths, updates[0], begun.scalars[key], after=path)
            planned.append((engine.state.slots.of(x), path.name))
    return planned


def _declared_slots(optimizer: Optimizer, variable: Any) -> dict[str, tf.TensorSpec]:
    """The slots that an optimizer with hooks declares in `slots`, as specs of what they are."""
    dtype = tf_variables.compute_dtype(variable.dtype)
    return {
        name: tf.TensorSpec(declared.shape(variable.shape), dtype)
        for name, declared in optimizer.slots(variable).items()
        if isinstance(declared, Initial)
    }


def _graph_variable_like(variable: Any) -> Any:
    """A variable of the same dtype and shape in the current graph, where it takes no memory."""
    shape = variable.shape
    start = tf.zeros([size or 0 for size in shape], variable.dtype)
    return tf.compat.v1.Variable(start, use_resource=True, shape=shape, validate_shape=False)
