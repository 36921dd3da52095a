"""Configs of optimizers: written by tfopt; read from tfopt, OptimizerV2, tf-keras and Keras 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfopt import schedules
from tfopt._libraries.warnings import remaking, warn
from tfopt.hyper import Hyper

# A config with these keys is Keras'. A config of tfopt has neither both norms nor None.
_KERAS_3_KEYS = {"gradient_accumulation_steps", "loss_scale_factor", "clipnorm", "global_clipnorm"}
_TF_KERAS_KEYS = {"use_ema", "is_legacy_optimizer"}


def get_config(optimizer: Any) -> dict[str, Any]:
    """Returns the arguments that make an equal optimizer, without its state."""
    engine, declared = optimizer._engine, optimizer._declared
    engine.hypers.restore()
    config: dict[str, Any] = {"name": optimizer.name}
    for name, field in declared.fields.items():
        if isinstance(field, Hyper):
            if engine.hypers[name].home is not engine.state:
                continue  # the config of the inner optimizer has it
            value = engine.hypers[name].config()
        elif field.in_config:
            value = engine.statics[name]
        else:
            if engine.statics[name]:
                warn(f"`{name}` holds functions and is not in the config: pass it again.")
            continue
        if name in optimizer._positional or value != field.default:
            config[name] = value
    for policy in declared.policies:
        config.update(policy.config(engine))
    return config


def from_config(
    cls: Any, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None
) -> Any:
    """Makes an optimizer of a class, from a config of that class or of its namesake in Keras."""
    if not isinstance(config, Mapping):
        raise ValueError(f"`config` must be a dict; got {config!r}.")
    config = dict(config)
    origin = _origin(config)
    if origin:
        config = _without_neutral_keys(cls, config)
    config.pop("is_legacy_optimizer", None)
    known = {*cls._declared.fields, *cls._declared.aliases}
    for name, value in config.items():
        if isinstance(value, Mapping) and name in known:
            config[name] = schedules.deserialize_any(value, custom_objects)
    for policy in cls._declared.policies:
        for name in policy.keywords:
            if name in config:
                config[name] = policy.from_config(config[name], custom_objects)
    with remaking():
        optimizer = cls(**config)
    difference = optimizer._formula_differs_in_keras() if origin else ""
    if difference:
        warn(
            f"This config of {cls.__name__} comes from {origin}, where {difference}: see the "
            f"docstring of tfopt.{cls.__name__}."
        )
    return optimizer


def _origin(config: Mapping[str, Any]) -> str:
    """Returns the library whose newer optimizers write such a config; empty for any other."""
    if _KERAS_3_KEYS <= config.keys():
        return "Keras 3"
    return "tf-keras" if _TF_KERAS_KEYS <= config.keys() else ""


def _without_neutral_keys(cls: Any, config: dict[str, Any]) -> dict[str, Any]:
    """Returns the config without keys that have no effect: None, and averages that are off."""
    neutral = {"jit_compile"}  # Keras sets it by whether there is a GPU
    neutral |= {n for n in cls._declared.common & config.keys() if config[n] is None}
    if not config.get("use_ema"):
        neutral |= {"use_ema", "ema_momentum", "ema_overwrite_frequency"}
    return {name: value for name, value in config.items() if name not in neutral}
