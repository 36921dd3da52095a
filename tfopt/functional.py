"""A step of any optimizer as a pure function: tensors in, tensors out, to differentiate through.

`init` and `step` compute what `apply_gradients` does, from the same formulas, and change nothing:
neither variables nor the optimizer. So you can learn a learning rate or an initialization through
steps, and take steps for many models at once by `tf.vectorized_map`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tfopt._engine import building, update_paths, variable_groups
from tfopt._engine.engine import Engine
from tfopt._engine.scalars import with_scalars
from tfopt._engine.step_records import Step, Update, Work
from tfopt._libraries import tf_variables
from tfopt._values import rows
from tfopt._values.cells_and_codecs import Cell
from tfopt._values.initial_values import Initial
from tfopt.hyper import Hyper, Static
from tfopt.optimizer import Optimizer

__all__ = ["State", "init", "step"]


class State(NamedTuple):
    """The state of an optimizer as tensors: a nest, for `tf.nest`, `tf.function` and loops.

    Attributes:
        iterations: the number of steps taken, int64.
        scalars: the scalars that the optimizer declares in its `state`, by name.
        slots: for each value, in the order of `tf.nest.flatten`, its slots by name.
    """

    iterations: Any
    scalars: dict[str, Any]
    slots: tuple[dict[str, Any], ...]


@tf_variables.plain_python
def init(optimizer: Any, values: Any) -> State:
    """Returns the state of an optimizer before its first step.

    Args:
        optimizer: an optimizer of tfopt. It is not changed.
        values: the values to train: a nest of float tensors or variables. The keys of dicts are the
            paths that `groups` gets. In lists, positions take the place of keys.

    Returns:
        A `State`.

    Raises:
        TypeError: if `optimizer` is not one of tfopt's.
        ValueError: if it uses an option that needs variables, such as `use_ema`.

    >>> state = tfopt.functional.init(tfopt.SGD(0.5, momentum=0.5), [tf.constant([1.0])])
    >>> int(state.iterations), state.slots[0]["momentum"].numpy()
    (0, array([0.], dtype=float32))
    """
    engine = _checked(optimizer)
    holders = _holders(values)
    with engine.groups.assumed(engine.groups.sort(holders)):
        moving = _moving(engine, holders)
        slots = [_first_slots(engine, h) if h in moving else {} for h in holders]
        first = building.first_scalars(engine)
    dtype = tf_variables.compute_dtype(holders[0].dtype) if holders else tf.float32
    scalars = {name: tf.constant(value, dtype) for name, value in first.items()}
    return State(tf.zeros([], tf.int64), scalars, tuple(slots))


@tf_variables.plain_python
def step(
    optimizer: Any, gradients: Any, values: Any, state: State, **hyperparameters: Any
) -> tuple[Any, State]:
    """Makes one step, and returns its results.

    You can differentiate the results with respect to gradients, values, state and hyperparameters,
    wherever the formula has a derivative. A square root has none at 0: for Adam this is where a
    gradient was 0 in all steps.

    Args:
        optimizer: an optimizer of tfopt, as in `init`. It is not changed.
        gradients: the gradients, in the structure of `values`: tensors, `tf.IndexedSlices`, which
            are made dense, or None for a value that stays as it is.
        values: the values, in the same structure as for `init`.
        state: the state.
        **hyperparameters: scalars that take the place of the optimizer's numbers in this step, by
            name, such as `learning_rate`.

    Returns:
        The new values, in the same structure, and the new state.

    Raises:
        TypeError: for a hyperparameter that the optimizer does not use.
        ValueError: if structures do not fit together.

    >>> optimizer, x = tfopt.SGD(0.5), tf.constant([1.0])
    >>> state = tfopt.functional.init(optimizer, x)
    >>> rate = tf.constant(0.25)
    >>> with tf.GradientTape() as tape:
    ...     tape.watch(rate)
    ...     y, state = tfopt.functional.step(optimizer, 2 * x, x, state, learning_rate=rate)
    ...     loss = tf.reduce_sum(y * y)
    >>> y.numpy(), float(tape.gradient(loss, rate))
    (array([0.5], dtype=float32), -2.0)
    """
    engine = _checked(optimizer)
    holders, given = _holders(values), _flat(gradients)
    if len(given) != len(holders) or len(state.slots) != len(holders):
        raise ValueError(
            f"`gradients` and `state` must be for {len(holders)} values; got {len(given)} "
            f"gradients, and slots for {len(state.slots)}."
        )
    paths = [path for path, _ in _with_paths(gradients, "")]
    if isinstance(values, Mapping) and paths != [holder.path for holder in holders]:
        raise ValueError(
            f"`gradients` must have the structure of `values`: "
            f"{', '.join(holder.path for holder in holders)}; got {', '.join(paths)}."
        )
    with engine.groups.assumed(engine.groups.sort(holders)):
        able = _moving(engine, holders)
        moving = [
            (holder, _dense(gradient, holder), dict(slots))
            for holder, gradient, slots in zip(holders, given, state.slots, strict=True)
            if gradient is not None and holder in able
        ]
        new = _advance(engine, moving, state, hyperparameters)
    slots = {id(holder): own for holder, _, own in moving}
    all_slots = tuple(
        slots.get(id(holder), before) for holder, before in zip(holders, state.slots, strict=True)
    )
    scalars = {**state.scalars, **new}
    results = tf.nest.pack_sequence_as(values, [holder.value for holder in holders])
    return results, State(state.iterations + 1, scalars, all_slots)


def _advance(
    engine: Engine,
    moving: Sequence[tuple[_Holder, Any, dict[str, Any]]],
    state: State,
    hyperparameters: Mapping[str, Any],
) -> dict[str, Any]:
    """Makes the step: changes holders and slots in place, and returns the new scalars."""
    active = engine.hypers.active()
    for name in hyperparameters:
        if name not in active:
            raise TypeError(
                f"`{name}` is no hyperparameter that {engine.optimizer!r} uses; it uses "
                f"{', '.join(sorted(active))}."
            )
    evaluated = engine.hypers.evaluate_at(state.iterations)
    numbers = {name: tf.convert_to_tensor(value) for name, value in hyperparameters.items()}
    for name, number in numbers.items():
        if number.shape.rank not in (0, None):
            raise ValueError(f"`{name}` must be a scalar; got {hyperparameters[name]!r}.")
    made = engine.step({**evaluated, **numbers}, aggregate=False)
    made = made._replace(iterations=state.iterations)
    works = engine.grouped([Work(gradient, holder, holder) for holder, gradient, _ in moving])
    for policy in made.policies:
        works = list(policy.change_gradients(made, works))
    made, new = with_scalars(made, variable_groups.keys_of(works), state.scalars)
    for work, (_, _, slots) in zip(works, moving, strict=True):
        _advance_one(engine, made, work, slots)
    return new


def _advance_one(engine: Engine, made: Step, work: Work, slots: dict[str, Any]) -> None:
    own = {name: _Holder(value, name) for name, value in slots.items()}
    cells = {name: Cell((holder,)) for name, holder in own.items()}
    update = Update(
        work.gradient, None, Cell((work.variable,)), cells, work.clip_factor, made.policies.acting
    )
    update_paths.advance(engine.optimizer, [update], made.scalars[variable_groups.key_of(work)])
    slots.update({name: holder.value for name, holder in own.items()})


class _Holder:
    """A tensor in the place of a variable."""

    _ids = itertools.count()

    def __init__(self, value: Any, path: str):
        self.value, self.path, self.name = value, path, path
        self.shape, self.dtype = value.shape, value.dtype
        self.handle, self.device, self.trainable = None, "", True
        self._unique_id = f"a tensor of tfopt.functional {next(self._ids)}"

    def read_value(self) -> Any:
        """Returns the tensor."""
        return self.value

    def assign(self, value: Any, read_value: bool = False) -> None:
        """Replaces the tensor."""
        self.value = value


def _checked(optimizer: Any) -> Engine:
    """Returns the engine of an optimizer whose steps need no variables."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"`optimizer` must be a tfopt.Optimizer; got {optimizer!r}.")
    engine: Engine = optimizer._engine
    if engine.declared.is_hooked:
        raise ValueError(
            "`optimizer` must define `update`, since hooks such as `resource_apply_dense` need "
            f"variables; got {optimizer!r}."
        )
    for policy in engine.policies:
        if not policy.is_pure:
            fields = [n for n, f in vars(type(policy)).items() if isinstance(f, Hyper | Static)]
            option = next(iter([*fields, *policy.keywords, type(policy).__name__]))
            raise ValueError(
                f"`optimizer` must not use `{option}`, which needs variables; got {optimizer!r}."
            )
    if any(rule.members.are_objects for rule in engine.groups.rules):
        raise ValueError(
            "`optimizer` must have groups, parts and exclusions by patterns or functions, since "
            f"tensors are no variables or layers; got {optimizer!r}."
        )
    return engine


def _holders(values: Any) -> list[_Holder]:
    """Returns a holder for each value, with its path."""
    return [_Holder(_float(value, path), path) for path, value in _with_paths(values, "")]


def _float(value: Any, path: str) -> Any:
    if getattr(value, "constraint", None) is not None:
        raise ValueError(f"`{path}` must have no constraint, which would have no effect.")
    tensor = tf.convert_to_tensor(tf_variables.unwrap(value))
    if not (tensor.dtype.is_floating or tensor.dtype.is_complex):
        raise ValueError(f"`{path}` must be of a float dtype; got {tensor.dtype.name}.")
    return tensor


def _with_paths(values: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yields the leaves of a nest in the order of `tf.nest.flatten`, each with its path."""
    if isinstance(values, Mapping):
        for name in sorted(values):
            yield from _with_paths(values[name], f"{path}/{name}" if path else str(name))
    elif isinstance(values, list | tuple):
        for number, value in enumerate(values):
            yield from _with_paths(value, f"{path}/{number}" if path else str(number))
    elif isinstance(tf_variables.unwrap(values), tf.Variable) and (
        not path or path.split("/")[-1].isdigit()
    ):
        yield tf_variables.variable_path(values), values
    else:
        yield path, values


def _flat(gradients: Any) -> list[Any]:
    """Returns the leaves of a nest, with `IndexedSlices` as leaves."""
    return [gradient for _, gradient in _with_paths(gradients, "")]


def _dense(gradient: Any, holder: _Holder) -> Any:
    if isinstance(gradient, tf.IndexedSlices):
        gradient = rows.densify(gradient.values, gradient.indices, holder.value)
    gradient = tf.cast(gradient, tf_variables.compute_dtype(holder.dtype))
    if not gradient.shape.is_compatible_with(holder.shape):
        raise ValueError(
            f"The gradient of `{holder.path}` must have shape {holder.shape}; got {gradient.shape}."
        )
    return gradient


def _moving(engine: Engine, holders: Sequence[_Holder]) -> set[_Holder]:
    """Returns the holders that no group leaves alone."""
    off = engine.groups.off()
    return {holder for holder in holders if not off & set(engine.groups.of(holder).group)}


def _first_slots(engine: Engine, holder: _Holder) -> dict[str, Any]:
    dtype = tf_variables.compute_dtype(holder.dtype)
    return {
        name: declared.make(holder, dtype)
        if isinstance(declared, Initial)
        else tf.convert_to_tensor(declared)
        for name, declared in engine.optimizer.slots(holder).items()
    }
