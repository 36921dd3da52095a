"""Constraints: after an update, a variable's own `constraint` changes its value."""

from __future__ import annotations

from typing import Any

from tfopt._engine.policy import Policy, Works
from tfopt._engine.step_records import Step, Work
from tfopt._libraries import dtensor, replicas, tf_variables


class Constraints(Policy):
    """Applies the constraints of variables, which need whole variables."""

    is_pure = True

    def slots(self, x: Any, first: bool) -> dict[str, Any]:
        """Declares no slots. Raises if slots hold weights that would not obey the constraint."""
        constraint = getattr(self.engine.state.slots.original(x), "constraint", None)
        if constraint is not None and not self.engine.optimizer.takes_constraints:
            raise RuntimeError(
                f"Variable `{tf_variables.variable_path(x)}` has a constraint, {constraint!r}, "
                f"which other weights that {type(self.engine.optimizer).__name__} keeps would not "
                "obey. Use no constraint, or another optimizer."
            )
        return {}

    def check_rows(self, works: Works) -> None:
        """Raises for a variable with a constraint of which only rows are updated."""
        for work in works:
            if work.constraint is not None and self.engine.moves_rows(work.variable):
                raise RuntimeError(
                    f"Variable `{work.variable_path}` has a constraint, {work.constraint!r}, and a "
                    "sparse gradient that updates only rows: a constraint is for the whole "
                    "variable. Use `lazy=False`, or no constraint."
                )

    def after_update(self, step: Step, works: Works) -> None:
        """Replaces the value of each variable by what its constraint returns for it."""

        def constrain(copy: Any, work: Work) -> None:
            value = dtensor.read(copy) if dtensor.passes_values_on() else copy
            tf_variables.write(copy, work.constraint(value))

        replicas.each_copy([work for work in works if work.constraint is not None], constrain)
