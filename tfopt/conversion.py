"""`convert`: makes optimizers of tfopt from those of Keras 3 and tf-keras, with their state.

Only this file reads attributes that those libraries call private. It finds slots as the
libraries do, by the variable that they belong to, never by a position in a list: lists have
several layouts.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfopt._libraries import tf_variables
from tfopt._libraries.keras import tf_keras
from tfopt._libraries.warnings import TfoptWarning
from tfopt._policies import exponential_moving_average, gradient_accumulation
from tfopt.optimizer import Optimizer
from tfopt.optimizers.adadelta import Adadelta
from tfopt.optimizers.adafactor import Adafactor
from tfopt.optimizers.adagrad import Adagrad
from tfopt.optimizers.adam import Adam
from tfopt.optimizers.adamax import Adamax
from tfopt.optimizers.adamw import AdamW
from tfopt.optimizers.ftrl import Ftrl
from tfopt.optimizers.lamb import LAMB
from tfopt.optimizers.lion import Lion
from tfopt.optimizers.muon import Muon
from tfopt.optimizers.nadam import Nadam
from tfopt.optimizers.rmsprop import RMSprop
from tfopt.optimizers.schedule_free_adamw import ScheduleFreeAdamW
from tfopt.optimizers.sgd import SGD

KERAS_3, TF_KERAS, LEGACY = "Keras 3", "tf-keras", "tf-keras' legacy optimizers"


class Counterpart(NamedTuple):
    """An optimizer of tfopt, and where Keras 3 and tf-keras keep each of its slots.

    Legacy optimizers have OptimizerV2's slots, which have the same names in tfopt.
    """

    cls: type[Optimizer]
    slots: Mapping[str, str]


_MOMENTS = {"m": "_momentums", "v": "_velocities"}
_VALUE = "value"  # of a slot that starts as the variable
_WEIGHTS = "weights"  # of a sum of equal weights, one for each step
COUNTERPARTS = {
    "SGD": Counterpart(SGD, {"momentum": "momentums"}),
    "RMSprop": Counterpart(
        RMSprop,
        {"rms": "_velocities", "momentum": "_momentums", "mg": "_average_gradients"},
    ),
    "Adam": Counterpart(Adam, {**_MOMENTS, "vhat": "_velocity_hats"}),
    "AdamW": Counterpart(AdamW, {**_MOMENTS, "vhat": "_velocity_hats"}),
    "Adadelta": Counterpart(
        Adadelta,
        {"accum_grad": "_accumulated_grads", "accum_var": "_accumulated_delta_vars"},
    ),
    "Adagrad": Counterpart(Adagrad, {"accumulator": "_accumulators"}),
    "Adamax": Counterpart(Adamax, {"m": "_m", "v": "_u"}),
    "Nadam": Counterpart(Nadam, _MOMENTS),
    "Ftrl": Counterpart(Ftrl, {"accumulator": "_accumulators", "linear": "_linears"}),
    "Lion": Counterpart(Lion, {"m": "_momentums"}),
    "Lamb": Counterpart(LAMB, _MOMENTS),
    "Adafactor": Counterpart(Adafactor, {"r": "_r", "c": "_c", "v": "_v"}),
    "Muon": Counterpart(Muon, {"momentum": "momentums", "m": "momentums", "v": "adam_velocities"}),
    "ScheduleFreeAdamW": Counterpart(
        ScheduleFreeAdamW,
        {"z": "_momentums", "average": _VALUE, "weight_sum": _WEIGHTS, "v": "_velocities"},
    ),
}
_OTHER_ATTRIBUTES = {(TF_KERAS, "Lion", "m"): "momentums"}
_POLICIES = {
    exponential_moving_average.AVERAGE: "_model_variables_moving_average",
    gradient_accumulation.GRADIENT: "_accumulated_gradients",
}


def convert(
    optimizer: Any,
    variables: Iterable[Any] | None = None,
    *,
    allow_different_formula: bool = False,
) -> Any:
    """Converts an optimizer of Keras 3 or tf-keras, new or legacy, into one of tfopt.

    The result has the same hyperparameters, `iterations`, slots, averages and accumulated
    gradients, and continues to train the same variables in the same way. The given optimizer is
    not changed. To read a file, load it into the optimizer that wrote it, then convert that
    optimizer.

    Sparse gradients keep their effect. The newer optimizers of Keras update as with the dense
    gradient, so `lazy` is False where tfopt's default would differ.

    Args:
        optimizer: an optimizer of `keras.optimizers`, `tf_keras.optimizers` or
            `tf_keras.optimizers.legacy`: of one of their classes, not of a subclass. An optimizer
            of tfopt is returned unchanged.
        variables: all variables that the optimizer has trained, in the order for `weights`.
            Optimizers of Keras 3 know them. For all others you must pass them, once there are
            slots.
        allow_different_formula: whether to convert even if the formula of tfopt's optimizer
            differs. Then the slots are kept, and training continues by tfopt's formula.

    Returns:
        An optimizer of tfopt, built on `variables`.

    Raises:
        TypeError: if `optimizer` is none of these.
        ValueError: if tfopt has no such optimizer, or one with another formula; if `variables`
            are not the ones that the optimizer knows. The message names each.

    >>> import keras
    >>> x = tf.Variable([1.0, 2.0])
    >>> theirs = keras.optimizers.Adam(0.5)
    >>> _ = theirs.apply_gradients([(tf.constant([0.5, 0.25]), x)])
    >>> opt = tfopt.convert(theirs)
    >>> int(opt.iterations), opt.get_slot(x, "m").numpy()
    (1, array([0.05 , 0.025], dtype=float32))
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    library, name = _origin(optimizer)
    config = _config(optimizer, library)
    cls = COUNTERPARTS[name].cls
    made = _from_config(cls, config)
    difference = _difference(optimizer, library, name, config, made)
    if difference and not allow_different_formula:
        raise ValueError(
            f"`optimizer` must have the formula of tfopt.{cls.__name__}; in {library} "
            f"{difference}. Pass `allow_different_formula=True` to go on by tfopt's; "
            f"got {_repr(optimizer)}."
        )
    if library != LEGACY and made.sparse in ("rows", "rows_move") and not _rows_suffice(made):
        made = _from_config(cls, {**config, "lazy": False})
    trained = _trained_variables(optimizer, library, variables)
    if name == "Muon":  # Keras chooses by the number of dimensions alone
        roles: dict[str, list[Any]] = {"adamw": [], "matrix": []}
        for v in trained:
            roles["adamw" if optimizer._should_use_adamw(v) else "matrix"].append(v)
        made = _from_config(cls, {**config, "roles": [(v, role) for role, v in roles.items() if v]})
    decayed = getattr(optimizer, "_use_weight_decay", None)
    if trained and decayed is not None:
        made.exclude_from_weight_decay([v for v in trained if not decayed(_key_of(v, library))])
    pairs = [(made.iterations, _micro_steps(optimizer)[0])]
    if trained:
        made.build(trained)
        pairs += _state(optimizer, library, name, made, trained)
    tf_variables.assign_all(
        [(ours, tf.cast(tf_variables.unwrap(theirs), ours.dtype)) for ours, theirs in pairs]
    )
    return made


def _origin(optimizer: Any) -> tuple[str, str]:
    """Returns the library of an optimizer, and the name of its class there."""
    namespaces = [(KERAS_3, keras.optimizers, keras.Optimizer)]
    if tf_keras is not None:
        theirs = tf_keras.optimizers
        namespaces += [
            (TF_KERAS, theirs, theirs.Optimizer),
            (LEGACY, theirs.legacy, theirs.legacy.Optimizer),
        ]
    for library, namespace, base in namespaces:
        if not isinstance(optimizer, base):
            continue
        for name in COUNTERPARTS:
            if type(optimizer) is getattr(namespace, name, None):
                return library, name
        cls = type(optimizer)
        raise ValueError(
            f"`optimizer` must be of a class that has a counterpart: {', '.join(COUNTERPARTS)}; "
            f"got {cls.__module__}.{cls.__name__} of {library}."
        )
    raise TypeError(f"`optimizer` must be an optimizer of Keras 3 or tf-keras; got {optimizer!r}.")


def _config(optimizer: Any, library: str) -> dict[str, Any]:
    """Returns the config, with the functions and schedules that the optimizer uses in it."""
    config = dict(optimizer.get_config())
    if library == LEGACY:
        live = optimizer._hyper
    else:
        live = {"learning_rate": optimizer._learning_rate}
    for name, value in live.items():
        if callable(value) and not isinstance(tf_variables.unwrap(value), tf.Variable):
            config[name] = value
    if library != LEGACY and type(optimizer).__name__ == "Nadam":
        config["schedule_decay"] = 1.0  # Keras' schedule has 0.96**t
    return config


def _from_config(cls: type[Optimizer], config: Mapping[str, Any]) -> Any:
    with warnings.catch_warnings():  # a warning of another formula; `convert` raises instead
        warnings.simplefilter("ignore", TfoptWarning)
        return cls.from_config(config)


def _difference(
    optimizer: Any, library: str, name: str, config: Mapping[str, Any], made: Any
) -> str:
    """Says how the formula differs from that of tfopt's optimizer; empty if it does not."""
    if library == LEGACY:
        return ""
    clips = [c for c in ("clipnorm", "global_clipnorm") if config.get(c) is not None]
    if clips and config.get("clipvalue") is not None:
        return f"`clipvalue` has no effect together with `{clips[0]}`"
    if getattr(optimizer, "adaptive_epsilon", False):
        return "`adaptive_epsilon` corrects epsilon for bias"
    if config.get("gradient_accumulation_steps"):
        if config.get("use_ema"):
            return "averages follow every batch, not every step"
        if callable(config["learning_rate"]):
            return "schedules count batches, not steps"
        if not hasattr(optimizer, "_iterations"):  # the first versions
            return "`iterations` counts batches, not steps"
    if config.get("use_ema") and library == KERAS_3 and not int(_micro_steps(optimizer)[0]):
        return "averages begin with the variables after the first step"
    if name == "Nadam":  # the schedule of newer Keras is one of tfopt's
        inside = "inside a tf.function the schedule advances once for each variable"
        return inside if library == TF_KERAS else ""
    return str(made._formula_differs_in_keras())


def _rows_suffice(made: Any) -> bool:
    """True if a row whose gradient is zero does not change, even when the gradient is dense."""
    return isinstance(made, Adagrad) or (isinstance(made, SGD) and not made.uses("momentum"))


def _trained_variables(optimizer: Any, library: str, variables: Any) -> list[Any]:
    """Returns all variables that have slots in an optimizer; an empty list if none has."""
    if library == KERAS_3:
        known = [tf_variables.key(v) for v in getattr(optimizer, "_trainable_variables", ())]
    elif library == TF_KERAS:
        known = list(getattr(optimizer, "_index_dict", {}))
    else:
        known = list(optimizer._slots)
    if variables is None:
        if library == KERAS_3:
            return list(optimizer._trainable_variables)
        if known and (library == TF_KERAS or optimizer.get_slot_names()):
            raise ValueError(
                f"`variables` must be the variables trained so far, since {library} cannot "
                f"tell; got None for {_repr(optimizer)}."
            )
        return []
    variables = list(variables)
    keys = [tf_variables.key(v) for v in variables]
    if library == LEGACY and not known:
        return variables  # no slots, so nothing to lose
    for variable, key in zip(variables, keys, strict=True):
        if known and key not in known:
            raise ValueError(
                "`variables` must be the ones that the optimizer has trained; got "
                f"`{tf_variables.variable_path(variable)}`, which {_repr(optimizer)} does not know."
            )
    if known and (len(set(keys)) != len(known) or len(keys) != len(known)):
        raise ValueError(
            f"`variables` must be all {len(known)} variables that the optimizer has trained, "
            f"each once; got {len(keys)}: {', '.join(map(tf_variables.variable_path, variables))}."
        )
    return variables if known else []


def _key_of(variable: Any, library: str) -> Any:
    return variable if library == KERAS_3 else tf_variables.unwrap(variable)


def _state(
    optimizer: Any, library: str, name: str, made: Any, trained: Sequence[Any]
) -> list[tuple[Any, Any]]:
    """Returns (variable of tfopt, variable of the other) for all state except `iterations`."""
    pairs = []
    if name == "Nadam":
        cache = optimizer._m_cache if library == LEGACY else optimizer._u_product
        pairs.append((made._engine.state.scalars["momentum_cache"], cache))
    if name == "ScheduleFreeAdamW":
        rate = tf.cast(optimizer.learning_rate, tf.float32)
        pairs.append((made._engine.state.scalars["largest_rate"], rate))
    for variable in trained:
        for slot in made.get_slot_names():
            try:
                ours = made.get_slot(variable, slot)
            except KeyError:
                continue  # this variable does not have the slot
            theirs = _policy(optimizer, slot, ours)
            if theirs is None:
                theirs = _slot(optimizer, library, name, variable, slot)
            if ours.shape != theirs.shape:
                raise ValueError(
                    f"`optimizer` must have a `{slot}` of shape {ours.shape} for "
                    f"`{tf_variables.variable_path(variable)}`; got {theirs.shape}."
                )
            pairs.append((ours, theirs))
    return pairs


def _micro_steps(optimizer: Any) -> tuple[Any, Any]:
    """Returns how many steps were taken, and how many batches have accumulated since then."""
    window = getattr(optimizer, "gradient_accumulation_steps", None) or 1
    counter = optimizer.iterations
    if window > 1:  # `iterations` counts steps there, except in the first versions
        counter = getattr(optimizer, "_iterations", counter)
    batches = tf.convert_to_tensor(counter)
    return batches // window, batches % window


def _policy(optimizer: Any, slot: str, ours: Any) -> Any:
    """Returns the value of a slot that counts for a policy of tfopt; None for any other slot."""
    if slot == exponential_moving_average.STEP:
        return tf.fill(ours.shape, _micro_steps(optimizer)[0])
    if slot == gradient_accumulation.STEPS:
        return _micro_steps(optimizer)[1]
    return tf.ones_like(ours) if slot == gradient_accumulation.ROWS else None


def _slot(optimizer: Any, library: str, name: str, variable: Any, slot: str) -> Any:
    variable = tf_variables.unwrap(variable)
    if library == LEGACY:
        return optimizer.get_slot(variable, slot)
    attribute = {**COUNTERPARTS[name].slots, **_POLICIES}[slot]
    if attribute == _VALUE:
        return variable
    if attribute == _WEIGHTS:
        rate = tf.cast(optimizer.learning_rate, tf.float64)
        return tf.cast(_micro_steps(optimizer)[0], tf.float64) * rate**2
    of_all = getattr(optimizer, _OTHER_ATTRIBUTES.get((library, name, slot), attribute))
    if library == KERAS_3:
        return of_all[optimizer._get_variable_index(variable)]
    return of_all[optimizer._index_dict[optimizer._var_key(variable)]]


def _repr(optimizer: Any) -> str:
    cls, name = type(optimizer), optimizer.get_config()["name"]  # legacy ones have no `name`
    return f"{cls.__module__}.{cls.__name__} `{name}`"
