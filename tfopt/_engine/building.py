"""Creates the state of variables that an optimizer sees for the first time: all or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfopt._engine.members import Members
from tfopt._engine.policy import Policies
from tfopt._engine.step_records import overwrites
from tfopt._engine.variable_groups import suffix_of
from tfopt._libraries import dtensor, tensorflow_private, tf_variables
from tfopt._libraries.messages import called
from tfopt._libraries.warnings import warn
from tfopt._state.hyperparameters_in_files import warn_of_restored
from tfopt._values.cells_and_codecs import VALUE
from tfopt._values.initial_values import Initial

if TYPE_CHECKING:
    from tfopt._engine.engine import Engine
    from tfopt._state.state import State


def build(engine: Engine, var_list: Sequence[Any]) -> None:
    """Creates the state of variables not seen before: all of it, or nothing if a part fails."""
    variables = [tf_variables.unwrap(variable) for variable in var_list]
    engine.state.copy_late()
    if not engine.groups.have_slots(variables):
        with engine.state.lock:
            _build(engine, tf_variables.shards(var_list), tf_variables.shards(variables))
    if engine.state.slots.restored:
        _warn_of_unclaimed_slots(engine)


def _build(engine: Engine, var_list: Sequence[Any], variables: Sequence[Any]) -> None:
    state, slots = engine.state, engine.state.slots
    new = {
        key: variable
        for key, variable in zip(map(tf_variables.key, variables), variables, strict=True)
        if key not in slots.variables
    }
    if state.built and not new:
        return
    engine.check()
    _check_shards(engine, new.values())
    if engine.pending_lr is not None:
        raise TypeError(
            f"`lr`={engine.pending_lr!r} has no effect: {type(engine.optimizer).__name__} never "
            "called `_set_hyper('learning_rate', ...)`."
        )
    for variable in new.values():
        tf_variables.check_scope(variable)
    if variables:
        state.home.join(variables[0])
        join_mesh(state, variables[0], engine.name, engine.statics["shard_slots"])
    _ = state.iterations
    engine.hypers.create()
    if not state.built:
        warn_of_restored(engine.hypers, engine.name)
    if not new:
        return
    _warn_of_repeated(engine, variables)
    policies, mark, first = engine.policies, slots.mark(), not engine.groups.seen()
    try:
        slots.note_paths(var_list)
        with engine.groups.sorted([slots.original(variable) for variable in new.values()]):
            blocks = _blocks(engine, new)
            if blocks:
                state.create_scalars(first_scalars(engine), variables[0])
            for block in blocks:
                _create_block(engine, policies, block)
    except Exception:
        slots.reset(mark)
        raise
    engine.groups.wake(variable for block in blocks for variable in block.values())
    if blocks:
        engine.freeze_choices(policies)
    engine.expose()
    if first:
        _warn_of_patterns(engine)


def _warn_of_repeated(engine: Engine, variables: Sequence[Any]) -> None:
    """Warns of variables that are listed more than once: each of their gradients makes a step."""
    first: dict[Any, int] = {}
    repeated = {}
    for position, variable in enumerate(variables):
        before = first.setdefault(tf_variables.key(variable), position)
        if before != position:
            repeated[before] = called(variable, before)
    if repeated:
        names = ", ".join(repeated.values())
        warn(
            f"`{engine.name}` is given {names} more than once in one call: "
            "each gradient makes a step of its own. Add them up first to make one step."
        )


def _warn_of_patterns(engine: Engine) -> None:
    """Warns of patterns by which the formula tells variables apart, if none of these matches."""
    for keyword in engine.optimizer.pattern_keywords:
        patterns = Members(keyword, engine.statics[keyword] or ())
        patterns.warn_of_missing(engine.groups.seen(), first=True, lenient=True)


def _blocks(engine: Engine, new: Mapping[Any, Any]) -> list[dict[Any, Any]]:
    """Returns the variables that are to get slots, in the sets in which they get them.

    Variables that began with a learning rate of 0 come after the others, also in an optimizer that
    was loaded since. So the order of `weights` stays the same.
    """
    blocks: tuple[dict[Any, Any], dict[Any, Any]] = {}, {}
    off = engine.groups.off()
    for key, variable in new.items():
        group = engine.groups.of(variable).group
        if not off & set(group):
            blocks[any(rule.began_off for rule in group)][key] = variable
    return [block for block in blocks if block]


def first_scalars(engine: Engine) -> dict[str, float]:
    """Returns the scalars that the optimizer declares, for each group with numbers of its own."""
    groups, declared = engine.groups.numeric(), engine.declared_state().items()
    return {f"{name}{suffix_of(group)}": v for group in groups for name, v in declared}


def _create_block(engine: Engine, policies: Policies, new: dict[Any, Any]) -> None:
    state, slots, variables = engine.state, engine.state.slots, list(new.values())
    start = slots.count()
    updated = [v for v in variables if not overwrites(slots.original(v))]
    if updated:
        engine.optimizer.create_slots(updated)
    _create_kept(engine, policies, variables, updated)
    state.load_waiting(start if state.built else 0)
    slots.blocks.append(variables)
    slots.keep(new)


def _warn_of_unclaimed_slots(engine: Engine) -> None:
    """Warns of slots that a checkpoint has and this optimizer does not have."""
    names = engine.state.slots.unclaimed()
    if names and not engine.state.origin.is_another:  # else that was said
        warn(
            f"The checkpoint has the slots {', '.join(names)}, which `{engine.name}` does not "
            "have: it may be of another optimizer, or of other options."
        )


def create_declared(engine: Engine, var_list: Sequence[Any]) -> None:
    """Creates the slots that the optimizer declares."""
    with tf.init_scope():  # values that `slots` computes must not belong to a function
        declared = [(variable, engine.optimizer.slots(variable)) for variable in var_list]
    kept = engine.state.table.kept
    for name in dict.fromkeys(name for _, slots in declared for name in slots):
        if name in kept:
            raise ValueError(
                f"`slots` of {type(engine.optimizer).__name__} must not declare {name!r}: the "
                f"names {', '.join(kept)} belong to policies that all optimizers share."
            )
    coded = [
        (v, {name: _coded(initial, _codec(engine, v, name)) for name, initial in slots.items()})
        for v, slots in declared
    ]
    _declare(engine, coded, by_variable=engine.optimizer.slot_order == "variable")


def _create_kept(
    engine: Engine, policies: Policies, all_new: Sequence[Any], updated: Sequence[Any]
) -> None:
    """Creates the slots of policies. The policy that acts last in a step comes first.

    Args:
        engine: the optimizer's parts.
        policies: the policies in use.
        all_new: the new variables.
        updated: those of them that are not overwritten with their gradients.
    """
    for policy in reversed(policies):
        var_list = all_new if policy.keeps_overwritten else updated
        for variable in var_list:
            codec = policy.codec(variable, VALUE)
            if codec is not None:
                engine.state.slots.declare_value(variable, codec)
        with tf.init_scope():
            declared = [(v, policy.slots(v, first=v is var_list[0])) for v in var_list]
        unknown = {n for _, slots in declared for n in slots} - engine.state.table.kept.keys()
        if unknown:
            raise ValueError(
                f"`slots` of {type(policy).__name__} must give slots that its `kept` names; "
                f"got {sorted(unknown)}."
            )
        _declare(engine, declared)


def _declare(
    engine: Engine, declared: Sequence[tuple[Any, Mapping[str, Any]]], by_variable: bool = False
) -> None:
    if by_variable:
        order = [(variable, slots, name) for variable, slots in declared for name in slots]
    else:
        names = dict.fromkeys(name for _, slots in declared for name in slots)
        order = [(v, slots, name) for name in names for v, slots in declared if name in slots]
    for variable, slots, name in order:
        engine.state.slots.declare(variable, name, slots[name])


def _codec(engine: Engine, variable: Any, name: str) -> Any:
    """Returns the codec by which a policy in use stores a declared slot; None if there is none."""
    codecs = [policy.codec(variable, name) for policy in engine.policies]
    return next((codec for codec in codecs if codec is not None), None)


def restore(engine: Engine, variable: Any, name: str, position: Any) -> Any:
    """Returns the slot for which a checkpoint has a value; None to wait until it is created."""
    unwrapped = tf_variables.unwrap(variable)
    engine.state.origin.note(position)
    with engine.state.lock:
        slots = engine.state.slots
        if engine.declared.is_hooked:  # the dtype with which `add_slot` will create it
            dtype = unwrapped.dtype
        else:
            dtype = slots.dtype_of(unwrapped, name)
            if engine.is_own_slot(name) and not _starts_plainly(engine, unwrapped, name):
                dtype = None
        return slots.restore(variable, name, position, dtype)


def _starts_plainly(engine: Engine, variable: Any, name: str) -> bool:
    """Returns whether a declared slot has the dtype of arithmetic, and no codec stores it."""
    if isinstance(variable, tf_variables.ShardedVariable):
        return True
    if engine.optimizer.roles and not engine.groups.has_seen(variable):
        return False  # nobody knows yet which slots it will have
    declared = engine.optimizer.slots(variable)
    codec = _codec(engine, variable, name)
    plain = isinstance(declared.get(name), Initial) and declared[name].codec is None
    return (plain and codec is None) or not any(name.startswith(own) for own in declared)


def _check_shards(engine: Engine, variables: Iterable[Any]) -> None:
    """Raises if an `update` that needs the whole variable would get a shard of it."""
    for variable in variables:
        is_shard = tensorflow_private.sharded_variable(variable) is not variable
        if is_shard and engine.optimizer.sparse == "whole" and not engine.declared.is_hooked:
            raise ValueError(
                f"{type(engine.optimizer).__name__} needs whole variables; "
                f"`{tf_variables.variable_path(variable)}` is a shard of one. Create it with a "
                "`variable_partitioner` that leaves it whole, or declare `sparse` if `update` "
                "takes any rows of a variable."
            )


def join_mesh(state: State, variable: Any, owner: str, split_over: str | None = None) -> None:
    """Places the scalars of a state on the DTensor mesh of a variable, if that is on one."""
    state.layout = dtensor.layout_of_scalars(
        variable,
        tf_variables.variable_path(variable),
        split_over=split_over,
        current=state.layout,
        created=state.step_counter is not None or bool(state.counters),
        owner=owner,
    )


def _coded(initial: Any, codec: Any) -> Any:
    """Returns how a slot starts, with the codec by which a policy stores it, if any."""
    if codec is None:
        return initial
    if not isinstance(initial, Initial):
        value = tf.convert_to_tensor(initial)
        initial = Initial(lambda variable, dtype: value, lambda shape: value.shape)
    return initial._replace(codec=codec)
