"""Several optimizers for parts of a model, as one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tfopt import registry
from tfopt._engine import formula_calls
from tfopt._engine.scalars import Scalars
from tfopt._libraries import tf_variables
from tfopt.hyper import Hyper
from tfopt.optimizer import Optimizer
from tfopt.wrappers.parts import DEFAULT, KEYWORD, Parts, PartsEngine


@registry.register
class MultiOptimizer(Optimizer, policies=[Parts], engine=PartsEngine):
    """Different optimizers for parts of a model, as one optimizer.

    It makes one step for all of them: it sums, clips, accumulates and averages over all variables,
    and counts one `iterations`. The parts give the formulas, and keep their own learning rates,
    schedules and weight decay, which you may change at any time: see `optimizers`.

    Args:
        optimizers: which optimizer for which variables: a mapping from members to optimizers, or a
            list of pairs. Members are as in `groups`: regular expressions for paths, variables,
            layers, functions of a variable, or lists of these. An optimizer is one of tfopt, or an
            identifier for `tfopt.get`; it may stand for several members. Also an `OptimizerMap`, or
            pairs in the order of TensorFlow Addons: (optimizer, layers).
        default_optimizer: the optimizer of all other variables. Without it, a variable that no
            member matches raises an error.
        learning_rate: the learning rates of all parts are multiplied by it; at least 0.
        name: a name.
        **kwargs: the keywords that all optimizers share, for all parts together, except
            `weight_decay`, which each part has. A part may have `weight_decay`,
            `exclude_from_weight_decay`, `decay` and `lazy`, and none of the others.

    Sparse gradients:
        Each part treats the rows of its variables as it does alone.

    Raises:
        TypeError: if something is not an optimizer of tfopt.
        ValueError: if a variable belongs to two parts, or to none; if a part has options that only
            the whole can have, or has seen variables already.

    >>> x, y = (tf.Variable(1.0, name=name) for name in ("body", "head"))
    >>> opt = tfopt.MultiOptimizer({"head": tfopt.Adam(0.5)}, tfopt.SGD(0.25))
    >>> _ = opt.apply_gradients([(1.0, x), (1.0, y)])
    >>> float(x), float(y), int(opt.iterations)
    (0.75, 0.5, 1)

    Source:
        In Keras 3, `MultiOptimizer` calls its optimizers one after the other, each with clipping
        and `iterations` of its own.
    """

    learning_rate = Hyper(1.0, low=0)
    decays = None  # its parts decay

    _engine: PartsEngine

    def __init__(
        self,
        optimizers: Any = None,
        default_optimizer: Optimizer | str | Mapping[str, Any] | None = None,
        learning_rate: Any = 1.0,
        *,
        name: str = "MultiOptimizer",
        **kwargs: Any,
    ):
        kwargs = {KEYWORD: optimizers, DEFAULT: default_optimizer, **kwargs}
        try:
            super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        except Exception:
            if "_engine" in self.__dict__:
                self._engine.release()
            raise

    @property
    def optimizers(self) -> list[Optimizer]:
        """The optimizers of the parts, the default one last."""
        return list(self._engine.parts.values())

    def __repr__(self) -> str:
        engine, found = self._engine, dict[str | None, str]()
        for rule in engine.groups.rules_of(Parts):
            found[rule.role] = f"{found.get(rule.role, '')}{rule.members!r}, "
        given = [f"{found[r][:-2]}: {p!r}" for r, p in engine.parts.items() if r in found]
        default = engine.default_role and engine.parts[engine.default_role]
        return f"tfopt.MultiOptimizer({{{', '.join(given)}}}, {default!r})"

    # --- what depends on the part -----------------------------------------------------------------

    @property
    def roles(self) -> tuple[str, ...]:  # type: ignore[override]
        """The names of the parts, with the roles that a part has."""
        parts = self._engine.parts.items()
        return tuple(f"{name}/{r}" if r else name for name, p in parts for r in p.roles or [""])

    @property
    def sparse(self) -> dict[str, str]:
        """What happens to rows that are not in the batch, by role."""
        found = {}
        for role in self.roles:
            _, part, inner = self._engine.part(role)
            dense = part._engine.densifies(inner)
            found[role] = "whole" if dense else part._engine.rows_word(inner)
        return found

    @property
    def complex_numbers(self) -> bool:  # type: ignore[override]
        """Whether all parts take complex variables."""
        return all(part.complex_numbers for part in self._engine.parts.values())

    @property
    def fused_takes(self) -> frozenset[str]:  # type: ignore[override]
        """What the kernels of all parts take."""
        return frozenset.intersection(*(part.fused_takes for part in self._engine.parts.values()))

    def choose_role(self, x: Any) -> str:
        """Returns the default part; raises if there is none."""
        if self._engine.default_role is None:
            raise ValueError(
                f"`{KEYWORD}` must have an optimizer for each variable, or there must be a "
                f"`{DEFAULT}`; got none for `{tf_variables.variable_path(x)}`."
            )
        return self._engine.default_role

    def slots(self, x: Any) -> dict[str, Any]:
        """Declares the slots of the part."""
        return self._engine.part(self.role_of(x))[1].slots(x)

    def begin(self, h: Scalars, state: Scalars) -> None:
        """Puts the scalars of a part in the place of all."""
        name, part, inner = self._engine.part(h.role)
        prefix = f"{name}."
        own = {n.removeprefix(prefix): v for n, v in vars(h).items() if n.startswith(prefix)}
        if "learning_rate" in own:
            rate = own["learning_rate"] * h.learning_rate
            own["learning_rate"] = rate / (1 + own["decay"] * (h.t - 1)) if "decay" in own else rate
        scalars = Scalars(**own, t=h.t, role=inner)
        names = part._engine.declared_state()
        its = Scalars(**{n: getattr(state, f"{prefix}{n}") for n in names})
        formula_calls.begin(part, scalars, its)
        for n, value in vars(its).items():
            setattr(state, f"{prefix}{n}", value)
        own = {**vars(scalars), "role": h.role}
        vars(h).clear()
        vars(h).update(own)

    @property
    def averages_itself(self) -> bool:
        """Whether a part has evaluation weights of its own."""
        return any(part.averages_itself for part in self._engine.parts.values())

    def update(self, g: Any, x: Any, s: Scalars, h: Scalars) -> Any:
        """Computes the update of the part."""
        _, part, h.role = self._engine.part(h.role)
        return formula_calls.update(part, g, x, s, h)

    def fused(self, g: Any, var: Any, s: Scalars, h: Scalars, **factors: Any) -> Any:
        """Runs the kernel of the part, if it has one."""
        _, part, h.role = self._engine.part(h.role)
        if not part._engine.declared.has_kernel:
            return NotImplemented
        return part.fused(g, var, s, h, **factors)


class OptimizerMap:
    """Which optimizer for which variables, as Keras 3 has it: for `tfopt.MultiOptimizer`.

    Args:
        default_optimizer: the optimizer of all variables that no pattern matches.
        optimizer_map: optimizers by regular expressions, which must match the whole path of a
            variable. Add more by assignment: `optimizer_map[".*bias"] = tfopt.SGD()`.

    >>> mapped = tfopt.OptimizerMap(tfopt.Adam(), {".*/kernel": tfopt.SGD(0.1)})
    >>> [part.name for part in tfopt.MultiOptimizer(mapped).optimizers]
    ['SGD', 'Adam']
    """

    def __init__(self, default_optimizer: Any, optimizer_map: Mapping[str, Any] | None = None):
        self.default_optimizer = default_optimizer
        self.optimizer_map = dict(optimizer_map or {})

    def __call__(self, variable: Any) -> Any:
        """Returns the optimizer of a variable; raises if two patterns match its path."""
        path = tf_variables.variable_path(variable)
        found = [pattern for pattern in self if re.fullmatch(pattern, path)]
        if len(found) > 1:
            raise ValueError(
                f"`optimizer_map` must have one pattern for each variable; `{path}` has {found}."
            )
        return self[found[0]] if found else self.default_optimizer

    def __setitem__(self, pattern: str, optimizer: Any) -> None:
        self.optimizer_map[pattern] = optimizer

    def __getitem__(self, pattern: str) -> Any:
        return self.optimizer_map[pattern]

    def __len__(self) -> int:
        return len(self.optimizer_map)

    def __iter__(self) -> Iterator[str]:
        return iter(self.optimizer_map)
