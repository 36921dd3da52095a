"""The constructor of an optimizer and its attributes, made from what its class declares."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfopt._declarations import collect, misspelt, other_libraries, reserved_names
from tfopt._declarations import config as config_module
from tfopt._declarations.collect import Declarations
from tfopt._engine.engine import Engine
from tfopt._engine.members import is_layer, is_variable
from tfopt._libraries import tf_variables
from tfopt._libraries.messages import shown
from tfopt._libraries.warnings import warn_of_arguments
from tfopt.hyper import Hyper, attribute


class Configurable:
    """Base class whose constructor, attributes and config are made from declarations."""

    name: str

    _engine: Any  # an `Engine`; in a function that optimizers share, a `Blueprint`
    _declared: Declarations
    _positional: tuple[str, ...] = ()

    def __init__(self, *args: Any, name: str | None = None, **kwargs: Any) -> None:
        cls = type(self)
        if args and not cls._positional and name is None:
            name, *args = args  # type: ignore[assignment]
        declared = cls._declared
        lr = None
        if "lr" in kwargs and "learning_rate" not in declared.fields:
            lr = kwargs.pop("lr")  # for the subclass' own `_set_hyper`
        others = {n: kwargs.pop(n) for n in declared.keywords if n in kwargs}
        values = _bound_arguments(cls, tuple(args), kwargs)
        engine = start_engine(self, cls.__name__ if name is None else name)
        engine.pending_lr = lr
        for field_name, field in declared.fields.items():
            value = values.get(field_name, field.default)
            if isinstance(field, Hyper):
                engine.hypers.add(field, value)
            else:
                engine.statics[field_name] = field.check(value)
        for policy in sorted(declared.policies, key=lambda policy: not policy.configured_first):
            policy.configure(engine, {n: v for n, v in others.items() if n in policy.keywords})
        engine.check()
        _warn_of_no_effect(self, engine, others)

    # --- hyperparameters, as OptimizerV2's subclasses set and read them ---------------------------

    def _set_hyper(self, name: str, value: Any) -> None:
        """Sets a hyperparameter; adds one that the class does not declare."""
        self._engine.set_hyper(name, value)

    def _get_hyper(self, name: str, dtype: Any = None) -> Any:
        """Returns the current value of a hyperparameter, as a tensor of `dtype` if given."""
        if name not in self._engine.hypers:
            raise AttributeError(f"{type(self).__name__} has no hyperparameter `{name}`.")
        value = self._engine.value_now(name)
        return value if dtype is None else tf.cast(value, dtype)

    def _serialize_hyperparameter(self, name: str) -> Any:
        """Returns a hyperparameter as `get_config` stores it: a number or a schedule's config."""
        return self._engine.hypers[name].config()

    @property
    def learning_rate(self) -> Any:
        """The learning rate, for a class that does not declare it but calls `_set_hyper`."""
        return _read_undeclared(self, "learning_rate")

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self._set_hyper("learning_rate", value)

    # --- attributes -------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        return _read_undeclared(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._declared.reserved:
            raise reserved_names.is_reserved(type(self), name)
        if hasattr(inspect.getattr_static(type(self), name, None), "__set__"):
            object.__setattr__(self, name, value)
        elif "_engine" in self.__dict__ and name in self._engine.hypers:
            self._engine.set_hyper(name, value)
        elif self._declared.tracks_attributes:
            misspelt.warn_of_attribute(self, name, value)
            tf.__internal__.tracking.AutoTrackable.__setattr__(self, name, value)
        else:
            object.__setattr__(self, name, value)

    def __dir__(self) -> list[str]:
        hypers = self._engine.hypers if "_engine" in self.__dict__ else ()
        return sorted({*super().__dir__(), *hypers})

    def __repr__(self) -> str:
        texts = {name: repr(value) for name, value in self.get_config().items()}
        texts |= {name: text for name, text in self._engine.hypers.texts().items() if name in texts}
        shown_by_policies = [policy.texts(self._engine) for policy in self._declared.policies]
        texts |= {n: t for own in shown_by_policies for n, t in own.items() if n in texts}
        inside = {name: getattr(self, name, None) for name in self._declared.keywords}
        texts |= {n: repr(value) for n, value in inside.items() if isinstance(value, Configurable)}
        arguments = ", ".join(f"{name}={text}" for name, text in texts.items())
        return f"tfopt.{type(self).__name__}({arguments})"

    # --- config -----------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal optimizer, without its state.

        Returns:
            A dict that JSON can hold. A number that is unchanged is exactly the one given; a
            changed number is its current value. A schedule is its config. A callable without a
            config is its current value. Keywords that all optimizers share are left out if they
            have their default value.
        """
        return config_module.get_config(self)

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Any:
        """Makes an optimizer from a config of tfopt, OptimizerV2, tf-keras or Keras 3.

        Args:
            config: what `get_config` returned. Keys of options that only another library has are
                dropped if they have their neutral value.
            custom_objects: names of schedules or functions that the config uses.

        Returns:
            An optimizer without state.

        Raises:
            TypeError: for a key that is no argument of this optimizer.
            ValueError: for a value out of range, or an unknown schedule.
        """
        return config_module.from_config(cls, config, custom_objects)

    def _formula_differs_in_keras(self) -> str:
        """Says how the formula of Keras 3 and newer tf-keras differs; empty if it does not."""
        return ""


def _read_undeclared(optimizer: Any, name: str) -> Any:
    """Returns the value of a hyperparameter that `_set_hyper` added."""
    if name != "_engine" and "_engine" in optimizer.__dict__ and name in optimizer._engine.hypers:
        return attribute(optimizer, name)
    # Python calls this after a descriptor has raised, and drops the error of the descriptor.
    not_offered = getattr(inspect.getattr_static(type(optimizer), name, None), "error", None)
    raise not_offered or AttributeError(
        f"{type(optimizer).__name__!r} object has no attribute {name!r}"
    )


_MADE_HERE = {"_declared", "_positional", "__signature__"}


def declare(cls: Any, base: type, **more: Any) -> None:
    """Collects what a class declares, and makes its signature from it; for `__init_subclass__`."""
    if "_declared" in vars(cls):  # a wrapper has copied another class's body
        for name in _MADE_HERE & vars(cls).keys():
            delattr(cls, name)
    declared = collect.collect(cls, base, getattr(cls, "_declared", None), **more)
    if not cls.__module__.startswith("tfopt."):
        reserved_names.check(cls, base, declared)
    cls._declared = declared
    if "_positional" not in vars(cls):  # first the arguments of its base class
        before = [name for name in cls._positional if name in declared.fields]
        own = [name for name in declared.fields if name not in declared.common]
        cls._positional = tuple(dict.fromkeys((*before, *own)))
    if cls.__init__ is Configurable.__init__:
        cls.__signature__ = signature(cls)
    for hook, instead in declared.uncalled.items():
        if hook in vars(cls):
            raise RuntimeError(
                f"{cls.__name__} overrides `{hook}`, which nothing would call: override "
                f"`{instead}` instead."
            )


def start_engine(optimizer: Any, name: Any) -> Engine:
    """Gives an optimizer its name and its engine, the only attributes that tfopt keeps on it."""
    if not isinstance(name, str) or not name:
        raise ValueError(f"`name` must be a non-empty string; got {name!r}.")
    declared = type(optimizer)._declared
    engine: Engine = declared.engine(optimizer, name, declared)
    # `tf.Module` has the first two, but its constructor would refuse many names.
    scope = tf_variables.scope_name(name)
    optimizer.__dict__.update(_name=name, _scope_name=scope, _engine=engine)
    return engine


def signature(cls: Any) -> inspect.Signature:
    """Returns the signature that declarations make, with the types of its parameters."""
    declared = cls._declared
    fields = declared.fields
    rest = sorted(fields.keys() - set(cls._positional), key=lambda n: (n in declared.common, n))

    def parameter(
        name: str, default: Any, annotation: str, positional: bool = False
    ) -> inspect.Parameter:
        kinds = inspect.Parameter
        kind = kinds.POSITIONAL_OR_KEYWORD if positional else kinds.KEYWORD_ONLY
        return kinds(name, kind, default=default, annotation=annotation)

    def of_field(name: str, positional: bool) -> inspect.Parameter:
        return parameter(name, fields[name].default, fields[name].annotation, positional)

    def kind_of(target: str) -> str:
        return fields[target].annotation if target in fields else "ScalarOrSchedule"

    return inspect.Signature(
        [
            *(of_field(name, True) for name in cls._positional),
            parameter("name", cls.__name__, "str | None", positional=not cls._positional),
            *(of_field(name, False) for name in rest),
            *(parameter(name, None, kind) for name, kind in declared.keywords.items()),
            *(parameter(name, None, kind_of(target)) for name, target in declared.aliases.items()),
        ]
    )


def _bound_arguments(cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Returns the constructor's arguments by canonical name."""
    declared = cls._declared
    if args and _are_variables(args[0]):
        raise TypeError(f"{other_libraries.VARIABLES} Got {shown(args[0])} for {cls.__name__}.")
    if len(args) > len(cls._positional):
        raise TypeError(
            f"{cls.__name__} takes at most {len(cls._positional)} positional arguments "
            f"({', '.join(cls._positional)}); got {len(args)}: {shown(args)}."
        )
    bound = dict(zip(cls._positional, args, strict=False))
    for name, value in kwargs.items():
        target = declared.aliases.get(name, name)
        if target in bound:
            names = [target, *(a for a, t in declared.aliases.items() if t == target)]
            raise TypeError(
                f"`{target}` was given twice ({' and '.join(names)} are one): "
                f"{shown(bound[target])} and {shown(value)}."
            )
        if target not in declared.fields:
            raise misspelt.unknown_keyword(cls, declared, name, value)
        bound[target] = value
    return bound


def _are_variables(given: Any) -> bool:
    """Returns whether a value is a model, or holds variables, as PyTorch's optimizers take them."""
    if isinstance(given, list | tuple):
        return any(map(is_variable, given))
    return is_layer(given)


def _warn_of_no_effect(optimizer: Any, engine: Engine, others: Mapping[str, Any]) -> None:
    """Warns of keywords that have no effect without another one.

    They raise nowhere: Keras 3 and tf-keras take them.
    """
    missing: dict[str, list[str]] = {}
    for name, field in engine.declared.fields.items():
        needs = field.needs
        if needs is not None and _is_off(engine, needs):
            value = engine.hypers[name].config() if name in engine.hypers else engine.statics[name]
            if value != field.default:
                missing.setdefault(needs, []).append(f"{name}={shown(value)}")
    for policy in engine.declared.policies:
        for name, needs in policy.without_effect(engine, others):
            missing.setdefault(needs, []).append(f"{name}={shown(others[name])}")
    for needs, given in missing.items():
        warn_of_arguments(
            f"{' and '.join(given)} of {type(optimizer).__name__} "
            f"{'has' if len(given) == 1 else 'have'} no effect without `{needs}`."
        )


def _is_off(engine: Engine, name: str) -> bool:
    """Returns whether an option is not used: a number that is off, or a choice of nothing."""
    return not (engine.uses(name) if name in engine.hypers else engine.statics[name])
