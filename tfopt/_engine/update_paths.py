"""How updates run: by rows, by a fused kernel, by XLA or by plain ops.

All paths compute the optimizer's `update`. A path says which updates it `takes`, and `run`s any
number of them that share a device and scalars. How many go into one launch is up to the path. An
update runs on the first path that takes it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfopt._engine import devices, formula_calls, variable_groups, xla_functions
from tfopt._engine.scalars import Scalars
from tfopt._engine.step_records import H, Step, Update, Work
from tfopt._libraries import dtensor, replicas, tf_variables
from tfopt._values import rows
from tfopt._values.cells_and_codecs import IDENTITY, VALUE, Cell

if TYPE_CHECKING:
    from tfopt._engine.engine import Engine
    from tfopt._engine.policy import Policy

FEW = 16  # small variables in a step, for which plain ops cost less than to launch compiled code
TOGETHER = 8  # small variables in one launch; more take longer to compile


def update(step: Step, works: Sequence[Work]) -> None:
    """Updates every copy of every variable."""
    for (path, _, key), updates in plan(step, works).items():
        with replicas.on_device_of(updates[0].x.variable):
            path.run(updates, step.scalars[key])


def plan(step: Step, works: Sequence[Work]) -> dict[tuple[Path, str, Any], list[Update]]:
    """Returns the updates of all copies, by path, device, and the key of their scalars."""
    batches: dict[Any, list[Update]] = {}

    def add(copy: Any, work: Work) -> None:
        update, key = located(step.engine, copy, work), variable_groups.key_of(work)
        path = choose(step.engine.paths, update, step.scalars[key])
        batches.setdefault((path, copy.device, key), []).append(update)

    replicas.each_copy(works, add)
    return batches


def choose(paths: Sequence[Path], update: Update, h: H, after: Path | None = None) -> Path:
    """Returns the first path that takes the update: of all, or of those after the path `after`."""
    rest = paths if after is None else paths[paths.index(after) + 1 :]
    return next(path for path in rest if path.takes(update, h))


def located(engine: Engine, copy: Any, work: Work) -> Update:
    """Returns the update of one copy, with the cells on the device of this copy.

    A `tf.function` would silently capture a mirrored variable among its arguments, and a second
    call would write the first one's variable. So the copies of mirrored variables are passed.
    """
    cells = engine.state.cells(work.variable, copy)
    slots = {name: cell for name, cell in cells.items() if engine.is_own_slot(name)}
    acting = engine.policies.acting
    update = Update(work.gradient, None, cells[VALUE], slots, work.clip_factor, acting)
    if not work.is_sparse:
        return update
    values, indices = work.gradient.values, work.gradient.indices
    if engine.densifies(work.role):
        return update._replace(g=rows.densify(values, indices, copy))
    return update._replace(g=values, indices=indices)


# --- one update -----------------------------------------------------------------------------------


def read(update: Update) -> tuple[Any, Any, dict[str, Any]]:
    """Returns the gradient, the value and the slots: all rows, or the rows of the gradient."""
    g, x = update.g, update.x.read(update.indices)
    slots = {name: slot.read(update.indices) for name, slot in update.slots.items()}
    if update.indices is None:
        own = [slot.variable for slot in update.slots.values()]
        g, x = dtensor.laid_out_as_slots((g, x), update.x.variable, own)
    return g, x, slots


def compute(optimizer: Any, update: Update, values: Any, h: H) -> Any:
    """Computes the update in the compute dtype: what policies do inside it, then `update`."""
    g, x, slots = values
    dtype, s = tf_variables.compute_dtype(x.dtype), Scalars(**slots)
    g, x = tf.cast(g, dtype), tf.cast(x, dtype)
    factors = factors_of(update, h)
    for policy, factor in factors.items():
        g, x = policy.enter_update(factor, g, x)
    new = formula_calls.update(optimizer, g, x, s, Scalars(**h))
    for policy, factor in factors.items():
        new = policy.leave_update(factor, g, x, new)
    return new, vars(s)


def factors_of(update: Update, h: H) -> dict[type[Policy], Any]:
    """Returns the policies that act inside an update, with what they need for it."""
    found = {policy: policy.factor(update, h) for policy in update.acting}
    return {policy: factor for policy, factor in found.items() if factor is not None}


def write(update: Update, x: Any, slots: Mapping[str, Any]) -> None:
    """Writes what was computed."""
    if update.moves:
        update.x.write(x, update.indices)
    for name, slot in update.slots.items():
        slot.write(slots[name], update.indices)


def advance(optimizer: Any, updates: Sequence[Update], h: H) -> None:
    """Reads, computes and writes, one update after the other."""
    for update in updates:
        g, x, slots = read(update)
        g = _zeros(x, update, h) if g is None else g
        write(update, *compute(optimizer, update, (g, x, slots), h))


def _zeros(x: Any, update: Update, h: H) -> Any:
    """Returns a gradient of zeros."""
    if not update.moves:
        return tf.zeros_like(x)
    # If XLA knows that these are zeros, it computes new slots twice, and copies the old ones.
    return tf.where(h["t"] < 0, x, tf.zeros([], x.dtype))


# --- the paths ------------------------------------------------------------------------------------


class Path:
    """A way to run updates."""

    name = ""  # the name that `tfopt.inspect` shows

    def __init__(self, engine: Engine):
        self.engine = engine

    def takes(self, update: Update, h: H) -> bool:
        """Returns whether it can run this update."""
        raise NotImplementedError

    def run(self, updates: Sequence[Update], h: H) -> None:
        """Runs any number of updates that it takes, of one device, compute dtype and group.

        Their variables may be of several dtypes, since 16-bit ones compute in float32.
        """
        raise NotImplementedError


class Plain(Path):
    """Runs plain ops, for every update."""

    name = "plain"

    def takes(self, update: Update, h: H) -> bool:
        """Returns True."""
        return True

    def run(self, updates: Sequence[Update], h: H) -> None:
        """Runs one update after the other."""
        for update in updates:
            devices.warn_without_xla(self.engine, update.x.variable)
        advance(self.engine.optimizer, updates, h)


class Xla(Path):
    """Compiles one function for each shape, which gets one or several variables as arguments."""

    name = "XLA"

    def takes(self, update: Update, h: H) -> bool:
        """Returns whether the device has XLA, or `jit_compile` is True."""
        return devices.compiles(self.engine, update.x.variable)

    def run(self, updates: Sequence[Update], h: H) -> None:
        """Launches small variables together: only those of one shape in eager steps and with sums.

        A few light updates cost less as plain ops. In eager mode a function of TensorFlow runs
        them, because TensorFlow rewrites plain ops of a graph, and so changes the last bit.
        """
        light = [update for update in updates if _is_light(update)]
        plain = len(light) <= FEW and self.engine.statics["jit_compile"] == "auto"
        if plain and not tf.executing_eagerly():
            advance(self.engine.optimizer, light, h)
            updates = [update for update in updates if not _is_light(update)]
        mixes = not tf.executing_eagerly() and self.engine.sparse(h.get("role", "")) != "whole"
        for launch in _launches(updates, mixes):
            by_xla = not (plain and _is_light(launch[0]))
            form, inputs = _form(launch[0]), [_inputs(update) for update in launch]
            key, function = (len(launch), form, tuple(h)), functools.partial(_advance_form, form)
            xla_functions.call(self.engine, key, function, inputs, dict(h), by_xla=by_xla)


def _is_light(update: Update) -> bool:
    """Returns whether plain ops may run the update: a small one, with no cast to another dtype.

    In 16 bits the plain ops of a function and of the graph around it may differ in the last bit.
    """
    x = update.x.variable
    return devices.is_small(x) and x.dtype in (tf.float32, tf.float64)


def _launches(updates: Sequence[Update], mixes: bool) -> Iterator[list[Update]]:
    """Yields the updates that share a launch; if `mixes`, of several shapes where few are left."""
    alike, left = dict[Any, list[Update]](), dict[Any, list[Update]]()
    for update in updates:
        alike.setdefault((_form(update), _signature(update)), []).append(update)
    for (form, _), same in alike.items():
        small = devices.is_small(same[0].x.variable)
        full = len(same) - len(same) % TOGETHER if small else 0
        yield from (same[at : at + TOGETHER] for at in range(0, full, TOGETHER))
        for update in same[full:]:
            left.setdefault(form if small and mixes else len(left), []).append(update)
    for rest in left.values():
        yield from (rest[at : at + TOGETHER] for at in range(0, len(rest), TOGETHER))


# The inputs of an update are its tensors and variables. Its form is everything else.


def _form(update: Update) -> Any:
    cells = {"": update.x, **update.slots}
    stored = tuple((name, cell.codec, cell.rowed) for name, cell in cells.items())
    return update.acting, update.moves, stored


def _inputs(update: Update) -> Any:
    parts = [list(cell.parts) for cell in (update.x, *update.slots.values())]
    return update.g, update.clip_factor, parts


def _signature(update: Update) -> Any:
    """Returns the shapes and dtypes of the inputs, on which compiled code depends."""
    leaves = tf.nest.flatten(_inputs(update))
    return tuple(None if leaf is None else (tuple(leaf.shape), leaf.dtype) for leaf in leaves)


def _advance_form(form: Any, optimizer: Any, inputs: Sequence[Any], h: H) -> None:
    acting, moves, stored = form
    updates = []
    for g, clip_factor, parts in inputs:
        cells = {
            name: Cell(tuple(own), codec, rowed)
            for (name, codec, rowed), own in zip(stored, parts, strict=True)
        }
        updates.append(Update(g, None, cells.pop(""), cells, clip_factor, acting, moves))
    advance(optimizer, updates, h)


class Fused(Path):
    """Runs the optimizer's `fused` kernel: a raw op on variables of one dtype."""

    name = "fused"

    def takes(self, update: Update, h: H) -> bool:
        """Returns whether the kernel can run: `Optimizer.fused` lists the conditions."""
        engine, x = self.engine, update.x.variable
        cells = [update.x, *update.slots.values()]
        return (
            engine.declared.has_kernel
            and engine.statics["jit_compile"] is not True
            and update.indices is None
            and update.g is not None
            and x.dtype in (tf.float32, tf.float64)
            and update.g.dtype == x.dtype
            and all(c.codec is IDENTITY and c.variable.dtype == x.dtype for c in cells)
            and all(self._takes_factor(policy, x) for policy in factors_of(update, h))
            and not dtensor.is_on_mesh(x)  # DTensor knows how to split but a few kernels
        )

    def run(self, updates: Sequence[Update], h: H) -> None:
        """Runs the kernel for each update; passes what it declines to the paths after this one."""
        declined: dict[Path, list[Update]] = {}
        for update in updates:
            if not self.accepts(update, h):
                path = choose(self.engine.paths, update, h, after=self)
                declined.setdefault(path, []).append(update)
        for path, rest in declined.items():
            path.run(rest, h)

    def accepts(self, update: Update, h: H) -> bool:
        """Runs the kernel. Returns False if there is none for these options."""
        g, takes = update.g, self.engine.optimizer.fused_takes
        factors = {}
        for policy, factor in factors_of(update, h).items():
            if policy.factor_name in takes:
                factors[policy.factor_name] = factor
            else:  # a pass over a small gradient costs less than launching compiled code
                g, _ = policy.enter_update(factor, g, None)
        s = Scalars(**{name: slot.variable for name, slot in update.slots.items()})
        fused: Any = self.engine.optimizer.fused
        result = fused(g, update.x.variable, s, Scalars(**h), **factors)
        return result is not NotImplemented

    def _takes_factor(self, policy: type[Policy], x: Any) -> bool:
        takes = policy.factor_name in self.engine.optimizer.fused_takes
        return takes or (policy.enters_gradient_only and devices.is_small(x))


class Rows(Path):
    """Updates the rows of the gradient; for other rows, does what the optimizer's `sparse` says."""

    name = "rows"

    def takes(self, update: Update, h: H) -> bool:
        """Returns whether the gradient is one of rows."""
        return update.indices is not None

    def run(self, updates: Sequence[Update], h: H) -> None:
        """Runs plain ops, because XLA would need to know the number of rows."""
        engine = self.engine
        for update in updates:
            word = engine.rows_word(h.get("role", ""))
            if word == "rows":
                advance(engine.optimizer, [update], h)
            else:
                self._run_all_rows(update, h, moves=word == "exact")

    def _run_all_rows(self, update: Update, h: H, moves: bool) -> None:
        """Computes what the dense gradient would give, without making it dense.

        All rows are updated with a gradient of zeros. Then the rows of the gradient are updated
        again, from the values that they had before.
        """
        engine = self.engine
        by_rows = all(slot.rowed for slot in update.slots.values())
        before = read(update)
        g = None if by_rows else rows.densify(update.g, update.indices, update.x.variable)
        whole = update._replace(g=g, indices=None, moves=moves)
        choose(engine.paths, whole, h, after=self).run([whole], h)
        x, slots = compute(engine.optimizer, update, before, h)
        write(update if by_rows else update._replace(slots={}), x, slots)


PATHS: tuple[type[Path], ...] = (Rows, Fused, Xla, Plain)  # the first that takes an update
