"""Rules: what differs for some of the variables, such as their learning rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfopt._engine.members import Members

if TYPE_CHECKING:
    from tfopt._state.hyperparameters import Hypers

RATE = "learning_rate"


class Rule:
    """What differs for some variables. The rules that cover a variable are its group.

    Rules combine: factors multiply, and a variable may get its learning rate from one rule and
    its weight decay from another. Two rules must not give the same number for one variable, unless
    both are factors and of different partitions. What one rule has off is off.

    A learning rate that is 0 from the start leaves the variables alone: they have no slots, and no
    op runs for them. Once it gets another value, it is a number like any other.

    Args:
        members: the variables for which it holds.
        factors: by hyperparameter, a factor: anything that a hyperparameter may be.
        values: by hyperparameter, a value that replaces it.
        off: hyperparameters that these variables do not have. The graph has no op for them, while
            a factor of 0 would leave an op.
        owner: the policy that made the rule.
        partition: rules of one partition are to cover different variables.
        role: the role that the optimizer gives to these variables; None for no change.
        began_off: whether the learning rate was 0 from the start, in the process that saved it.
        is_on: whether its variables had slots there, although the learning rate is 0 by now.
    """

    def __init__(
        self,
        members: Members,
        factors: Mapping[str, Any] | None = None,
        values: Mapping[str, Any] | None = None,
        off: Sequence[str] = (),
        owner: Any = None,
        partition: Any = None,
        role: str | None = None,
        began_off: bool = False,
        is_on: bool = False,
    ):
        self.members = members
        self.factors, self.values = dict(factors or {}), dict(values or {})
        self.off, self.owner, self.partition = frozenset(off), owner, partition
        self.role = role
        self.names: dict[str, str] = {}  # names of its numbers among the hyperparameters
        self.position = 0  # among the rules with numbers
        self.part: str | None = None  # the part of an optimizer that it is for; None for the whole
        self.began_off = began_off
        self._is_on = is_on  # permanently, once its variables have slots
        self.left_out = False  # whether a function of the user's was traced without its variables

    def copied(self) -> Rule:
        """Returns the rule for a copy of the optimizer."""
        twin = Rule(
            self.members.copied(),
            self.factors,
            self.values,
            tuple(self.off),
            self.owner,
            self.partition,
            self.role,
            self.began_off,
        )
        twin.names, twin.position = dict(self.names), self.position
        twin._is_on, twin.part = self._is_on, self.part
        return twin

    @property
    def numbers(self) -> dict[str, tuple[str, str, Any]]:
        """Its numbers by name: the hyperparameter, "factor" or "value", and what was given."""
        factors = {f"{n}_factor": (n, "factor", value) for n, value in self.factors.items()}
        return {**factors, **{n: (n, "value", value) for n, value in self.values.items()}}

    def given(self) -> set[str]:
        """Returns the hyperparameters that it changes."""
        return {*self.factors, *self.values, *self.off, *(["role"] if self.role else [])}

    def start(self, hypers: Hypers) -> None:
        """Notes whether it leaves its variables alone. Its numbers must be among `hypers`."""
        self._is_on = self._is_on or not self._rate_is_0(hypers)
        self.began_off = self.began_off or not self._is_on

    def became_0(self, hypers: Hypers) -> bool:
        """Returns whether the learning rate is 0 and was not so from the start: a number."""
        return self._is_on and self._rate_is_0(hypers)

    def leaves_alone(self, hypers: Hypers) -> bool:
        """Returns whether its variables have had a learning rate of 0 from the start until now."""
        return not self._is_on and self._rate_is_0(hypers)

    def text(self, name: str) -> str:
        """Says what it gives for a hyperparameter, for messages."""
        if name == "role":
            return f"{self.role!r} by {self.members!r}"
        what = "a factor" if name in self.factors else "a value"
        number = self.factors.get(name, self.values.get(name))
        return f"{what} of {number!r} by {self.members!r}"

    def wake(self) -> None:
        """Is called when its variables get slots."""
        self._is_on = True

    def _rate_is_0(self, hypers: Hypers) -> bool:
        name = self.names.get(RATE) or self.names.get(f"{RATE}_factor")
        return name is not None and hypers[name].source is None and hypers[name].config() == 0
