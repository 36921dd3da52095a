"""What the class of an optimizer declares, collected when the class is created."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tfopt._engine.policy import Policy
from tfopt._engine.update_paths import PATHS, Path
from tfopt.hyper import Alias, Hyper, Static

Field = Hyper | Static


@dataclasses.dataclass(frozen=True)
class Declarations:
    """What engine, constructor and config must know about a class.

    Attributes:
        fields: hyperparameters and statics by name, its own first, then those of all optimizers.
        aliases: other names of fields.
        common: the fields that all optimizers have; they are keyword-only.
        policies: the policies that it may use, in the order of a step.
        paths: the paths on which its updates may run; the first path that takes an update runs it.
        engine: the class of the optimizer's parts.
        uncalled: names that a subclass must not define, since nothing would call them, and
            what is called instead.
        reserved: names that neither a user's subclass nor an attribute may have.
        tracks_attributes: whether checkpoints save what is assigned to an attribute.
        is_hooked: whether updates are made by hooks that a subclass overrides, not by `update`.
        has_kernel: whether `fused` is defined in the same class as `update`, or in a subclass.
        goes_by_rows: whether `sparse` is declared for this `update`, not for a parent's.
        begins: whether the class overrides `begin`.
        is_known: whether the update depends only on what the class declares. This is so for
            tfopt's own classes, and for those that promise it; others may read anything.
        has_own_getattr: whether the class defines a `__getattr__` of its own.
    """

    fields: Mapping[str, Field]
    aliases: Mapping[str, str]
    common: frozenset[str]
    policies: Sequence[type[Policy]] = ()
    paths: Sequence[type[Path]] = PATHS
    engine: Any = None
    uncalled: Mapping[str, str] = dataclasses.field(default_factory=dict)
    reserved: frozenset[str] = frozenset()
    tracks_attributes: bool = True
    is_hooked: bool = False
    has_kernel: bool = False
    goes_by_rows: bool = False
    begins: bool = False
    is_known: bool = True
    has_own_getattr: bool = False

    @property
    def own_statics(self) -> list[str]:
        """The statics that the class itself declares."""
        own = (n for n, field in self.fields.items() if isinstance(field, Static))
        return [name for name in own if name not in self.common]

    @property
    def keywords(self) -> dict[str, str]:
        """The keywords of policies that are no fields, with their types."""
        return {name: kind for policy in self.policies for name, kind in policy.keywords.items()}


def lift(cls: type, policies: Sequence[type[Policy]]) -> None:
    """Gives a class the keywords and the methods of policies.

    Raises:
        TypeError: if the class has something else under such a name.
    """
    for policy in policies:
        fields = {n: f for n, f in vars(policy).items() if isinstance(f, Hyper | Static)}
        for name, lifted in {**fields, **policy.offers}.items():
            if _defines(cls, name):
                raise TypeError(f"{cls.__name__} has a `{name}` already; so has {policy.__name__}.")
            setattr(cls, name, lifted)


def collect(
    cls: Any,
    base: Any,
    parent: Declarations | None,
    policies: Sequence[type[Policy]],
    paths: Sequence[type[Path]],
    engine: Any,
    uncalled: Mapping[str, str],
    reserved: Collection[str],
    tracks_attributes: bool,
    shared: bool,
) -> Declarations:
    """Returns what a class declares: by itself, and by its bases.

    Args:
        cls: the class.
        base: the base of all optimizers: an attribute that equals its own is not overridden.
        parent: what its base class declares; None for the base itself.
        policies: further policies, after those of the base class.
        paths: further paths, asked before those of the base class.
        engine: the class of the optimizer's parts; None for that of the base class.
        uncalled: hooks that nothing calls; if empty, those of the base class.
        reserved: further names that tfopt keeps for itself.
        tracks_attributes: False if checkpoints must not save what is assigned to attributes.
        shared: whether the class promises to read only what it declares.
    """
    fields: dict[str, Field] = {}
    aliases: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        for name, attribute in vars(each).items():
            if isinstance(attribute, Hyper | Static):
                fields[name] = attribute
                aliases.pop(name, None)
            elif isinstance(attribute, Alias):
                aliases[name] = attribute.target
                fields.pop(name, None)
    common = frozenset(fields) if parent is None else parent.common
    own = [name for name in fields if name not in common]
    rest = [name for name in fields if name in common]
    hooked = [getattr(cls, n) is not getattr(base, n) for n in _HOOKS]
    first = _definer(cls, "update")
    return Declarations(
        fields={name: fields[name] for name in [*own, *rest]},
        aliases=aliases,
        common=common,
        policies=(*(parent.policies if parent else ()), *policies),
        paths=(*paths, *(parent.paths if parent else PATHS)),
        engine=engine or (parent.engine if parent else None),
        uncalled=uncalled or (parent.uncalled if parent else {}),
        reserved=frozenset(reserved) | (parent.reserved if parent else frozenset()),
        tracks_attributes=tracks_attributes and (parent is None or parent.tracks_attributes),
        is_hooked=any(hooked),
        # A kernel computes the `update` of its own class, not one that overrides it.
        has_kernel=all(
            _definer(cls, "fused") <= _definer(cls, name) for name in ("update", "begin", "slots")
        ),
        # The `sparse` of a parent says nothing about an `update` that was overridden.
        goes_by_rows=not hooked[0] and _definer(cls, "sparse") <= first,
        begins=cls.begin is not base.begin,
        is_known=(shared or cls.__module__.startswith("tfopt."))
        and (parent is None or parent.is_known),
        has_own_getattr=getattr(cls, "__getattr__", None) is not getattr(base, "__getattr__", None),
    )


_HOOKS = ("resource_apply_dense", "resource_apply_sparse")


def _defines(cls: type, name: str) -> bool:
    """Returns whether the class has a name that is not one of TensorFlow's or Keras' own."""
    theirs = ("builtins", "keras", "tensorflow", "tf_keras")
    ours = (base for base in cls.__mro__ if base.__module__.split(".")[0] not in theirs)
    return any(name in vars(base) for base in ours)


def _definer(cls: type, name: str) -> int:
    """Returns how far up the bases an attribute is defined."""
    return next(i for i, base in enumerate(cls.__mro__) if name in vars(base))
