"""What the author of an optimizer declares and overrides: slots, `begin` and `update`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfopt._engine.scalars import Scalars

if TYPE_CHECKING:
    from tfopt._engine.engine import Engine


class Formula:
    """The formula of an optimizer, as its author writes it down."""

    _engine: Engine

    # What happens to rows that are not in the batch, when the gradient is an `IndexedSlices`:
    # rows: nothing; only the rows in the batch are updated, of the variable and of its slots.
    # exact: what a dense gradient would give; `update` works row by row.
    # rows_move: the weights stay as they are; slots change as with a dense gradient.
    # whole: the gradient is made dense first, since `update` needs the whole variable.
    sparse: Any = "whole"
    decays: str | None = "base"  # weight decay: "base" before `update`, "own" in it; None raises
    complex_numbers = False  # whether variables may be complex
    state: Mapping[str, float] = {}  # scalars that belong to no variable: {name: initial value}
    fused_takes: frozenset[str] = frozenset()  # of "clip_factor" and "decay_rate": see `fused`
    slot_order = "slot"  # in `weights`: "slot" after slot, or "variable" after variable
    roles: Sequence[str] = ()  # the parts of a model that it treats differently: `choose_role`
    pattern_keywords: Sequence[str] = ()  # which hold regular expressions for paths of variables
    roles_without_decay: Sequence[str] = ()  # the roles in which `update` uses no weight decay
    # Whether `cautious` may be used: steps follow a momentum, which may point against the gradient,
    # and no slot depends on where they lead.
    can_be_cautious: Any = False
    # Whether variables may have constraints: it keeps no other weights, which would not obey them.
    takes_constraints = True

    def check_arguments(self) -> None:
        """Raises if arguments do not fit together. The constructor calls it with all of them set.

        The range of a single argument belongs to its `Hyper` or `Static`.
        """

    def slots(self, x: Any) -> dict[str, Any]:
        """Declares the slots of a variable.

        Args:
            x: the variable.

        Returns:
            A dict with the initial value of each slot by name. It is `zeros(x)`, `full(x, value)`,
            `copy(x)`, `zeros(x, axis=)` for means of `x` over an axis, or a value of any shape.
        """
        return {}

    def choose_role(self, x: Any) -> str:
        """Returns which of `roles` a variable has, by its shape and path.

        `begin` and `update` read the role as `h.role`, and `slots` asks for it by `role_of`. If the
        keyword `roles` of the constructor names the variable, this method is not asked.

        Args:
            x: the variable, as the user knows it: `tf.Variable` or `keras.Variable`.
        """
        return self.roles[0]

    def role_of(self, x: Any) -> str:
        """Returns the role of a variable, also inside of `slots`; "" if there are no `roles`."""
        return str(self._engine.groups.of(x).role)

    def begin(self, h: Scalars, state: Scalars) -> None:
        """Computes the scalars that all variables share, adds them to `h`, and advances `state`.

        A step calls it once for each dtype of arithmetic, and for each group with numbers of its
        own, which has a `state` of its own.

        Args:
            h: the hyperparameters and `h.t`, as in `update`.
            state: the scalars that the class declares in `state`; assign to its attributes.
        """

    def update(self, g: Any, x: Any, s: Scalars, h: Scalars) -> Any:
        """Computes the update of one variable, or of any rows of it.

        Args:
            g: the gradient, in the compute dtype.
            x: the value.
            s: the slots; assign to its attributes to change them.
            h: the hyperparameters; `h.t`, the number of this step from 1; and what `begin` added.
                All are scalars.

        Returns:
            The new value.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must define `update`, or `resource_apply_dense`."
        )

    def evaluated(self, x: Any, s: Scalars, h: Scalars) -> Any:
        """Returns the value with which a model is evaluated, if it differs from the trained value.

        Override it in an optimizer that keeps an average of the weights: see `evaluation_weights`.

        Args:
            x: the value of one variable.
            s: its slots.
            h: its hyperparameters, without what `begin` adds.

        Returns:
            A tensor of the same shape.
        """
        return x

    @property
    def averages_itself(self) -> bool:
        """Whether the class overrides `evaluated`, because it keeps an average of the weights."""
        return type(self).evaluated is not Formula.evaluated

    def fused(self, g: Any, var: Any, s: Scalars, h: Scalars) -> Any:
        """Does the same as `update` by a kernel on variables, or returns `NotImplemented`.

        It is called only under these conditions:

        - The gradient is dense.
        - Variable, gradient and slots have the same dtype, float32 or float64, and are stored as
          they are, without a codec.
        - There is neither a clip factor nor weight decay, unless `fused_takes` names them. The
          gradient of a small variable is multiplied by its clip factor before.
        - The variable is not DTensor's, and `jit_compile` is not True.
        - No subclass overrides `update`, `begin` or `slots` without overriding `fused`.

        Args:
            g: the gradient.
            var: the variable.
            s: the slots, as variables.
            h: as in `update`.

        Returns:
            Anything but `NotImplemented`, if the kernel has changed variable and slots.
        """
        return NotImplemented

    def uses(self, name: str) -> bool:
        """Returns whether a hyperparameter that can be off takes part in the update."""
        return self._engine.uses(name)
