"""The constructor of an optimizer and its config, made of its declarations."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfopt import _keras
from tfopt._warnings import warn
from tfopt.hyper import Alias, Hyper, Hypers, Static

# Ours never has both of the norms, and leaves out what is None.
_KERAS_3_KEYS = {"gradient_accumulation_steps", "loss_scale_factor", "clipnorm", "global_clipnorm"}
_TF_KERAS_KEYS = {"use_ema", "is_legacy_optimizer"}


class Configurable:
    """A class whose constructor, attributes and config follow from its declarations."""

    # From the other parts of an optimizer.
    name: str
    _hypers: Hypers
    _statics: _Statics
    _excluded: Any
    _pending_lr: Any
    _current: Any
    _init_engine: Any
    exclude_from_weight_decay: Any
    _check_arguments: Any

    _fields: Mapping[str, Hyper | Static] = {}  # own fields first, then those of the base
    _aliases: Mapping[str, str] = {}
    _common: frozenset[str] = frozenset()  # the base's fields: keyword-only
    _positional: tuple[str, ...] = ()
    _formula_differs_in_keras: Any = ""  # how newer Keras' formula differs; may be a property

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        fields: dict[str, Hyper | Static] = {}
        aliases: dict[str, str] = {}
        for base in reversed(cls.__mro__):
            for name, attribute in vars(base).items():
                if isinstance(attribute, Hyper | Static):
                    fields[name] = attribute
                    aliases.pop(name, None)
                elif isinstance(attribute, Alias):
                    aliases[name] = attribute.target
                    fields.pop(name, None)
        cls._aliases = aliases
        if not cls._common:  # this is the base
            cls._common = frozenset(fields)
        own = [name for name in fields if name not in cls._common]
        if "_positional" not in vars(cls):
            cls._positional = tuple(own)
        common = [name for name in fields if name in cls._common]
        cls._fields = {name: fields[name] for name in [*own, *common]}
        if cls.__init__ is Configurable.__init__:
            cls.__signature__ = cls._make_signature()  # type: ignore[attr-defined]

    @classmethod
    def _make_signature(cls) -> inspect.Signature:
        def parameter(name: str, default: Any, positional: bool = False) -> inspect.Parameter:
            kind = inspect.Parameter
            return inspect.Parameter(
                name,
                kind.POSITIONAL_OR_KEYWORD if positional else kind.KEYWORD_ONLY,
                default=default,
            )

        named = parameter("name", cls.__name__, positional=not cls._positional)
        return inspect.Signature(
            [
                *(parameter(name, cls._fields[name].default, True) for name in cls._positional),
                named,
                *(
                    parameter(name, field.default)
                    for name, field in sorted(cls._fields.items())
                    if name not in cls._positional
                ),
                parameter("exclude_from_weight_decay", None),
                *(parameter(name, None) for name in cls._aliases),
            ]
        )

    def __init__(self, *args: Any, name: str | None = None, **kwargs: Any) -> None:
        cls = type(self)
        if args and not cls._positional and name is None:
            name, *args = args  # type: ignore[assignment]
        excluded = kwargs.pop("exclude_from_weight_decay", None)
        self._pending_lr = None
        if "lr" in kwargs and "learning_rate" not in cls._fields:
            self._pending_lr = kwargs.pop("lr")  # for the subclass' own `_set_hyper`
        values = cls._bind(tuple(args), kwargs)
        self._init_engine(cls.__name__ if name is None else name)
        self._statics = _Statics()
        self._hypers = Hypers(self)
        for field_name, field in cls._fields.items():
            value = values.get(field_name, field.default)
            if isinstance(field, Hyper):
                self._hypers.add(field, value)
            else:
                self._statics[field_name] = field.check(value)
        if excluded is not None:
            self.exclude_from_weight_decay(excluded)
        self._check_arguments()

    @classmethod
    def _bind(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The constructor's arguments by canonical name."""
        if len(args) > len(cls._positional):
            raise TypeError(
                f"{cls.__name__} takes at most {len(cls._positional)} positional arguments "
                f"({', '.join(cls._positional)}); got {len(args)}: {args!r}."
            )
        bound = dict(zip(cls._positional, args, strict=False))
        for name, value in kwargs.items():
            target = cls._aliases.get(name, name)
            if target in bound:
                names = [target, *(a for a, t in cls._aliases.items() if t == target)]
                raise TypeError(
                    f"`{target}` was given twice ({' and '.join(names)} are one): "
                    f"{bound[target]!r} and {value!r}."
                )
            if target not in cls._fields:
                known = ", ".join(sorted({*cls._fields, *cls._aliases, "name"}))
                raise TypeError(
                    f"{cls.__name__} has no keyword `{name}` (got {name}={value!r}). "
                    f"It takes: {known}, exclude_from_weight_decay."
                )
            bound[target] = value
        return bound

    def _set_hyper(self, name: str, value: Any) -> None:
        """Sets a hyperparameter; one that the class does not declare is added."""
        if name in self._hypers:
            self._hypers[name].set(value)
            return
        if name == "learning_rate" and self._pending_lr is not None:
            value, self._pending_lr = self._pending_lr, None
        hyper = Hyper(None, off=None)
        hyper.name = name
        self._hypers.add(hyper, value)

    def _get_hyper(self, name: str, dtype: Any = None) -> Any:
        """The current value of a hyperparameter, as a tensor of `dtype` if given."""
        if name not in self._hypers:
            raise AttributeError(f"{type(self).__name__} has no hyperparameter `{name}`.")
        value = self._current(name)
        return value if dtype is None else tf.cast(value, dtype)

    def _serialize_hyperparameter(self, name: str) -> Any:
        """A hyperparameter as `get_config` stores it: a number or a schedule's config."""
        return self._hypers[name].config()

    @property
    def learning_rate(self) -> Any:
        """The learning rate, of a class that does not declare it but calls `_set_hyper`."""
        return self.__getattr__("learning_rate")

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self._set_hyper("learning_rate", value)

    def __getattr__(self, name: str) -> Any:
        hypers = self.__dict__.get("_hypers", {})
        if name in hypers:
            return hypers[name].read()
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(inspect.getattr_static(type(self), name, None), "__set__"):
            object.__setattr__(self, name, value)
        elif name in self.__dict__.get("_hypers", ()):
            self._hypers[name].set(value)
        else:
            tf.__internal__.tracking.AutoTrackable.__setattr__(self, name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.__dict__.get("_hypers", ())})

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.get_config().items())
        return f"tfopt.{type(self).__name__}({arguments})"

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal optimizer, without its state.

        Returns:
            A dict fit for JSON. Numbers are the very ones given while unchanged,
            else their current value; a schedule is its config; a callable without
            a config is its current value. Of the keywords that all optimizers
            share, those at their default are left out.
        """
        config: dict[str, Any] = {"name": self.name}
        for name, field in self._fields.items():
            is_hyper = isinstance(field, Hyper)
            value = self._hypers[name].config() if is_hyper else self._statics[name]
            if name in self._positional or value != field.default:
                config[name] = value
        for name in ("gradient_aggregator", "gradient_transformers"):
            if config.pop(name, None):
                warn(f"`{name}` holds functions and is not in the config: pass it again.")
        if self._excluded:
            config["exclude_from_weight_decay"] = self._excluded.patterns()
        return config

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Any:
        """Makes an optimizer from a config: ours, OptimizerV2's, tf-keras' or Keras 3's.

        Args:
            config: what `get_config` returned. Keys that only say what another
                library's optimizer has, at their neutral value, are dropped.
            custom_objects: names of schedules or functions that the config uses.

        Returns:
            An optimizer without state.

        Raises:
            TypeError: for a key that is no argument of this optimizer.
            ValueError: for a value out of range, or an unknown schedule.
        """
        if not isinstance(config, Mapping):
            raise ValueError(f"`config` must be a dict; got {config!r}.")
        config = dict(config)
        keras_3, tf_keras = _KERAS_3_KEYS <= config.keys(), _TF_KERAS_KEYS <= config.keys()
        if keras_3 or tf_keras:
            config.pop("jit_compile", None)  # there it says whether a GPU was found
            for name in cls._common & config.keys():
                if config[name] is None:
                    del config[name]
            if not config.get("use_ema"):  # then its settings, whatever they are, are neutral
                for name in ("use_ema", "ema_momentum", "ema_overwrite_frequency"):
                    config.pop(name, None)
        config.pop("is_legacy_optimizer", None)
        for name, value in config.items():
            if isinstance(value, Mapping) and name in {*cls._fields, *cls._aliases}:
                config[name] = _keras.deserialize_schedule(value, custom_objects)
        optimizer = cls(**config)
        if (keras_3 or tf_keras) and optimizer._formula_differs_in_keras:
            warn(
                f"This config of {cls.__name__} comes from {'Keras 3' if keras_3 else 'tf-keras'}, "
                f"where {optimizer._formula_differs_in_keras}: see the docstring of "
                f"tfopt.{cls.__name__}."
            )
        return optimizer


class _Statics(dict[str, Any]):
    """The static choices of one optimizer (a class of its own, so that it stays untracked)."""
