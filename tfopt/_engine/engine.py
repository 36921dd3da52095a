"""The engine: all parts of an optimizer that are not public."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import tensorflow as tf

from tfopt._engine import building, devices, hooks, step, update_paths
from tfopt._engine.eager_steps import EagerSteps
from tfopt._engine.policy import Policies, Policy
from tfopt._engine.scalars import ScalarsOfSteps
from tfopt._engine.step_in_progress import step_of
from tfopt._engine.step_records import Step, Work
from tfopt._engine.variable_groups import Grouping
from tfopt._engine.xla_functions import Compiled
from tfopt._libraries import dtensor, replicas, tf_variables
from tfopt._libraries.warnings import a_library_calls, warn
from tfopt._state.hyperparameters import Hypers
from tfopt._state.state import State
from tfopt._values.cells_and_codecs import VALUE
from tfopt.hyper import Hyper

if TYPE_CHECKING:
    from tfopt._declarations.collect import Declarations
    from tfopt.optimizer import Optimizer

SPARSE = ("rows", "exact", "rows_move", "whole")


class Engine:
    """All parts of an optimizer that are not public; the optimizer has them as `_engine`.

    Args:
        optimizer: the optimizer, for its declarations and its formula.
        name: its name.
        declared: what its class declares.
    """

    # The attributes that tfopt keeps on an optimizer. All others are the user's.
    ATTRIBUTES = frozenset(("_engine", "_name", "_scope_name", "_module_variables"))
    # Functions rather than methods, so that nothing waits here while a step runs.
    life: ClassVar[Any] = staticmethod(step.run)  # of a step and its works
    # Whether a subclass that has an `apply` means Keras 3's, through which each step goes.
    goes_through_apply: ClassVar[bool] = True

    def __init__(self, optimizer: Optimizer, name: str, declared: Declarations):
        self.optimizer, self.name, self.declared = optimizer, name, declared
        self._policies_in_use: Policies | None = None  # once there are slots
        self.statics: dict[str, Any] = {}
        self.state = self.make_state()
        rules = [rule for policy in declared.policies for rule in policy.rules()]
        self.groups = Grouping(self.state, rules, self.role)
        self.eager_steps, self.compiled = EagerSteps(), Compiled()
        self.scalars = ScalarsOfSteps()
        self.paths = tuple(path(self) for path in declared.paths)
        # How a step updates every copy of every variable.
        self.update = hooks.run if declared.is_hooked else update_paths.update
        self.reads_more = False  # whether `update` reads what is not declared
        self.warned: set[Any] = set()
        self.watch: Any = None  # a `tfopt.inspect.Watch`
        self.pending_lr: Any = None  # `lr`, for a subclass' own `_set_hyper`

    def make_state(self) -> State:
        """Returns an empty state."""
        kept = {
            name: what for policy in self.declared.policies for name, what in policy.kept.items()
        }
        return State(
            self.optimizer, self.name, kept, self.first_counts, lambda: self.statics["shard_slots"]
        )

    @property
    def hypers(self) -> Hypers:
        """The hyperparameters, by name."""
        return self.state.hypers

    # --- what is used -----------------------------------------------------------------------------

    @property
    def policies(self) -> Policies:
        """The policies that the keywords ask for. They are fixed when slots are created."""
        if self._policies_in_use is not None:
            return self._policies_in_use
        return Policies(
            policy(self) for policy in self.declared.policies if policy.is_used_by(self)
        )

    def overrides(self, name: str, base: Any) -> bool:
        """Returns whether a subclass of the user's overrides a method that a policy offers."""
        return getattr(type(self.optimizer), name) is not base

    def policies_of_step(self, more: Sequence[Policy]) -> Policies:
        """Returns the policies in use, those of a wrapper that makes the step, and a `Watch`."""
        policies = Policies((*self.policies, *more))
        return policies if self.watch is None else self.watch.add_recording(policies)

    def policy(self, cls: type[Policy]) -> Policy | None:
        """Returns the policy of a class, if it is in use; else None."""
        return next((policy for policy in self.policies if isinstance(policy, cls)), None)

    def first_counts(self) -> Mapping[str, int | float]:
        """Returns the counters of the policies in use by name, and what they start from."""
        return {name: first for policy in self.policies for name, first in policy.counters.items()}

    def uses(self, name: str) -> bool:
        """Returns whether a hyperparameter that can be off takes part in updates."""
        return self.hypers[name].active

    def active(self) -> frozenset[str]:
        """Returns the names of the hyperparameters that take part in updates."""
        return self.hypers.active()

    def declared_state(self) -> Mapping[str, float]:
        """Returns the scalars that the optimizer declares in `state`, and their first values."""
        return self.optimizer.state

    def numbers(self) -> set[str]:
        """Returns the hyperparameters that the optimizer declares itself, without common ones."""
        hypers = {name for name, field in self.declared.fields.items() if isinstance(field, Hyper)}
        return hypers - self.declared.common

    def evaluated(self, x: Any, s: Any, h: Any) -> Any:
        """Returns the evaluation weights of a variable, given its value, slots and numbers."""
        return self.optimizer.evaluated(x, s, h)

    def own_statics(self) -> dict[str, Any]:
        """Returns the statics that the class itself declares, which `update` may read."""
        return {name: self.statics[name] for name in self.declared.own_statics}

    def has_own_attributes(self) -> bool:
        """Returns whether the optimizer has any attribute that its class does not declare."""
        cls = type(self.optimizer)
        if cls.__getattribute__ is not object.__getattribute__ or self.declared.has_own_getattr:
            return True
        return any(n not in self.ATTRIBUTES and n[:6] != "_self_" for n in vars(self.optimizer))

    def value_now(self, name: str) -> Any:
        """Returns the value of a hyperparameter in the current step, or outside of a step."""
        going_on = step_of(self)
        if going_on is not None and name in going_on.values:
            return going_on.values[name]
        return self.hypers[name].read()

    def set_hyper(self, name: str, value: Any) -> None:
        """Gives a hyperparameter a value; adds one that the class does not declare."""
        if name in self.hypers:
            hyper_value = self.hypers[name]
            hyper_value.restore()
            before = hyper_value.source
            hyper_value.set(value)
            if callable(before) and hyper_value.source is None:
                self._warn_of_number(name)
            return
        if name == "learning_rate" and self.pending_lr is not None:
            value, self.pending_lr = self.pending_lr, None
        hyper = Hyper(None, off=None)
        hyper.name = name
        self.hypers.add(hyper, value)

    def _warn_of_number(self, name: str) -> None:
        if a_library_calls() and ("replaced", name) not in self.warned:
            self.warned.add(("replaced", name))
            warn(
                f"A callback has set `{name}` to {self.hypers[name].number!r}: the number replaces "
                "the schedule or function from now on. Use either the callback or the schedule."
            )

    def set_static(self, name: str, value: Any) -> None:
        """Gives a static a value that is checked already; raises if there are slots."""
        if self.state.built and value != self.statics[name]:
            raise ValueError(
                f"`{name}` cannot change once slots exist: it is {self.statics[name]!r}; "
                f"got {value!r}."
            )
        self.statics[name] = value

    def sparse(self, role: str = "") -> str:
        """Returns the declared `sparse` of a role, or "whole" if a policy needs whole variables."""
        declared = self.optimizer.sparse
        word = str(declared[role] if isinstance(declared, Mapping) else declared)
        return "whole" if any(p.needs_whole_variables for p in self.policies) else word

    def rows_word(self, role: str = "") -> str:
        """Returns what happens to rows that are not in the batch, by `sparse` and `lazy`."""
        word, lazy = self.sparse(role), self.statics["lazy"]
        return word if word == "whole" or lazy is None else "rows" if lazy else "exact"

    def part(self, role: str) -> tuple[str, Optimizer, str]:
        """Returns the name of a part, "" for the whole, the optimizer of it, and the role there."""
        return "", self.optimizer, role

    def moves_rows(self, x: Any) -> bool:
        """Returns whether an `IndexedSlices` gradient of this variable moves only its rows."""
        word = self.rows_word(self.groups.of(x).role)
        return word in ("rows", "rows_move") and bool(x.shape.rank)

    def densifies(self, role: str = "") -> bool:
        """Returns whether an `IndexedSlices` gradient is made dense.

        An inherited "exact" is not enough where `update` is overridden: it may not work row by row.
        """
        word = self.rows_word(role)
        return word == "whole" or (word == "exact" and not self.declared.goes_by_rows)

    def is_own_slot(self, name: str) -> bool:
        """Returns whether a slot belongs to the formula: not to a policy, nor to the variable."""
        return name != VALUE and name not in self.state.table.kept

    def copy_for(self, optimizer: Optimizer, memo: dict[int, Any]) -> Engine:
        """Returns the parts of a deep copy, still without slots."""
        twin = type(self)(optimizer, self.name, self.declared)
        twin.statics.update(self.statics)
        twin.state.home = self.state.home.copied()
        twin.state.hypers = self.hypers.copy_for(twin.state, memo)
        twin.groups = self.groups.copied(twin.state, twin.role)
        twin.pending_lr = self.pending_lr
        return twin

    def blank_copy(self) -> Engine:
        """Returns the parts of a copy without state, whose hyperparameters are all numbers."""
        optimizer = type(self.optimizer).__new__(type(self.optimizer))
        own = {n: value for n, value in vars(self.optimizer).items() if n[:6] != "_self_"}
        optimizer.__dict__.update(own)
        twin = optimizer.__dict__["_engine"] = self.copy_for(optimizer, {})
        for value in twin.hypers.values():
            if value.source is not None:
                value.source, value.number = None, 1.0
        return twin

    # --- a step -----------------------------------------------------------------------------------

    def runs_in_place(self) -> bool:
        """Returns whether the step is traced or run here, rather than in a cached function."""
        if tf.inside_function():
            return True
        if not tf.executing_eagerly():
            return False
        users = any(policy.calls_functions_of_users for policy in self.policies)
        return users or replicas.has_strategy()

    def runs_alike_op_by_op(self, works: Sequence[Work]) -> bool:
        """Returns whether eager ops give the same bits as a function: if kernels or XLA compute.

        TensorFlow rewrites plain ops of a graph: x / sqrt(y) becomes x * rsqrt(y), for example.
        """
        if not self.declared.is_known:  # an error of the user's must not leave half a step
            return False
        if (
            not tf.executing_eagerly()
            or tf.config.functions_run_eagerly()
            or self.declared.is_hooked
        ):
            return False
        return all(
            not work.is_sparse and work.constraint is None and devices.compiles(self, work.variable)
            for work in works
        )

    def step(
        self, evaluated: Mapping[str, Any], aggregate: bool, more: tuple[Policy, ...] = ()
    ) -> Step:
        """Returns a step, given the hyperparameters that live in no variable."""
        active = {name: value for name, value in self.hypers.items() if value.active}
        values = {
            n: evaluated[n] if n in evaluated else v.variable_of_number() for n, v in active.items()
        }
        policies = self.policies_of_step(more)
        return Step(self, policies, values, aggregate, aggregate and policies.aggregator is None)

    # --- variables --------------------------------------------------------------------------------

    def grouped(self, works: Sequence[Work]) -> list[Work]:
        """Returns the works with the groups of their variables."""
        return [self._grouped(work) for work in works]

    def _grouped(self, work: Work) -> Work:
        seen = self.groups.of(work.variable)
        return work._replace(group=seen.group, role=seen.role)

    def role(self, original: Any, given: str | None = None) -> str:
        """Returns the role of a variable: what a rule says, or else what the optimizer chooses."""
        roles = self.optimizer.roles
        if not roles or given is not None:
            return given or ""
        chosen = self.optimizer.choose_role(original)
        if chosen not in roles:
            raise ValueError(
                f"`choose_role` of {type(self.optimizer).__name__} must return one of "
                f"{', '.join(map(repr, roles))}; got {chosen!r} for "
                f"`{tf_variables.variable_path(original)}`."
            )
        return chosen

    def work_of(self, variable: Any, gradient: Any = None) -> Work:
        """Returns the work of a variable that the optimizer has seen."""
        original = self.state.slots.original(variable)
        constraint = getattr(original, "constraint", None)
        return self._grouped(Work(gradient, variable, original, constraint))

    def blocks(self) -> list[list[Work]]:
        """Returns the works of all variables seen, without gradients, block by block."""
        return [[self.work_of(v) for v in block] for block in list(self.state.slots.blocks)]

    def build(self, var_list: Sequence[Any]) -> None:
        """Creates the state of new variables: all of it, or nothing if a part fails."""
        building.build(self, var_list)

    def freeze_choices(self, policies: Policies) -> None:
        """Fixes what is in use, once there are slots."""
        self._policies_in_use = policies
        self.hypers.freeze()

    def create_slots(self, var_list: Sequence[Any]) -> None:
        """Creates the slots that the optimizer declares."""
        building.create_declared(self, var_list)

    def restore_slot(self, variable: Any, name: str, position: Any) -> Any:
        """Returns the slot for which a checkpoint has a value; None to wait until it is created."""
        return building.restore(self, variable, name, position)

    def expose(self) -> None:
        """Lets a `tf.Module` that holds the optimizer find its variables.

        The attribute is not tracked: checkpoints save slots by the slot-variable protocol.
        """
        self.optimizer.__dict__["_module_variables"] = list(self.optimizer.weights)

    # --- checks -----------------------------------------------------------------------------------

    def check(self) -> None:
        """Raises if arguments do not fit together. It is called again before slots are created."""
        name = type(self.optimizer).__name__
        words = {self.sparse(role) for role in self.optimizer.roles or [""]}
        if not words <= set(SPARSE):
            raise ValueError(f"`sparse` must be one of {SPARSE}; got {self.optimizer.sparse!r}.")
        self.optimizer.check_arguments()
        for policy in self.declared.policies:
            policy.check(self)
        if self.statics["lazy"] is True and words == {"whole"}:
            raise ValueError(f"`lazy` must not be True: {name} needs whole variables; got True.")
        hooked = name if self.declared.is_hooked else None
        dtensor.check_split(self.statics["shard_slots"], hooked)

    def check_rows(self, works: Sequence[Work]) -> None:
        """Raises for gradients of rows that are not supported, before anything is created."""
        for work in works:
            dtensor.refuse_rows(work.variable, work.variable_path)
