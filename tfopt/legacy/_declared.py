"""OptimizerV2's hooks, made from what a class of tfopt declares and from its `update`."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfopt._engine.scalars import Scalars
from tfopt._libraries import replicas
from tfopt._values import rows
from tfopt._values.initial_values import Initial
from tfopt.hyper import Static
from tfopt.legacy._optimizer import Optimizer


class Declared(Optimizer):
    """The hooks of the eight, made from the declarations and `update` of tfopt's classes."""

    _coefficients: Mapping[str, str] = {}  # names in `apply_state`, by names in `update`'s `h`

    def _start(self, name: str | None, keywords: dict[str, Any], **fields: Any) -> None:
        """Runs the constructor of the base class, then sets `fields` in their order."""
        super().__init__(name, **keywords)
        fields["learning_rate"] = keywords.get("lr", fields["learning_rate"])
        self._engine.pending_lr = None
        for field, value in fields.items():
            declared = self._declared.fields[field]
            if field == "epsilon":
                fields[field] = 1e-7 if value is None else value
                declared.check_range(fields[field])
            elif isinstance(declared, Static):
                fields[field] = declared.check(value)
            else:
                self._set_hyper(field, value)
                continue
            setattr(self, field, fields[field])
        self._set_hyper("decay", self._initial_decay)
        self._config_fields = tuple(fields)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal optimizer, without its state.

        Returns:
            The same dict as OptimizerV2's, with numbers as they were given.
        """
        numbers = {
            name: self._serialize_hyperparameter(name)
            if name in self._engine.hypers
            else getattr(self, name)
            for name in self._config_fields
        }
        return {**super().get_config(), **numbers, "decay": self._decay_in_config()}

    def _decay_in_config(self) -> Any:
        decay = self._initial_decay
        return self._serialize_hyperparameter("decay") if callable(decay) else decay

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        declared = [(var, name) for var in var_list for name in self.slots(var)]
        if self.slot_order == "slot":
            names = list(self.slots(var_list[0]))
            declared.sort(key=lambda slot: names.index(slot[1]))
        for var, name in declared:
            self.add_slot(var, name, functools.partial(_start_of, self.slots(var)[name], var))

    def _prepare_local(self, var_device: Any, var_dtype: Any, apply_state: Any) -> None:
        super()._prepare_local(var_device, var_dtype, apply_state)
        coefficients = apply_state[var_device, var_dtype]
        h = Scalars(learning_rate=coefficients["lr_t"], t=tf.cast(self.iterations + 1, var_dtype))
        for name in self._config_fields:
            if name in self._engine.hypers and name != "learning_rate":
                setattr(h, name, tf.identity(self._get_hyper(name, var_dtype)))
        if "epsilon" in self._config_fields:
            h.epsilon = tf.convert_to_tensor(self.epsilon, var_dtype)
        self.begin(h, Scalars())
        for h_name, name in self._coefficients.items():
            if hasattr(h, h_name):
                coefficients[name] = getattr(h, h_name)

    def _shared(self, var: Any, apply_state: Any, by_rows: bool) -> Scalars:
        """Returns the scalars of this step for `update`; `by_rows` is for sparse gradients."""
        place = var.device, var.dtype.base_dtype
        coefficients = (apply_state or {}).get(place) or self._fallback_apply_state(*place)
        return Scalars(**{name: coefficients[there] for name, there in self._coefficients.items()})

    def _slots_beside(self, var: Any) -> dict[str, Any]:
        return {n: replicas.copy_on_device_of(self.get_slot(var, n), var) for n in self.slots(var)}

    def _resource_apply_dense(self, grad: Any, var: Any, apply_state: Any = None) -> Any:
        h, slots = self._shared(var, apply_state, by_rows=False), self._slots_beside(var)
        result = self.fused(grad, var, Scalars(**slots), h)
        if result is not NotImplemented:
            return result
        s = Scalars(**{name: slot.read_value() for name, slot in slots.items()})
        ops = [var.assign(self.update(grad, var.read_value(), s, h), read_value=False)]
        return tf.group(*ops, *_assigned(slots, s))

    def _resource_apply_sparse(
        self, grad: Any, var: Any, indices: Any, apply_state: Any = None
    ) -> Any:
        h, slots = self._shared(var, apply_state, by_rows=True), self._slots_beside(var)
        if self.sparse == "rows":
            s = Scalars(**{name: rows.read(slot, indices) for name, slot in slots.items()})
            x = self.update(grad, rows.read(var, indices), s, h)
            ops = [rows.write(slot, indices, getattr(s, n)) for n, slot in slots.items()]
            return tf.group(rows.write(var, indices, x), *ops)
        s = Scalars(**{name: slot.read_value() for name, slot in slots.items()})
        x = self.update(rows.densify(grad, indices, var), var.read_value(), s, h)
        if self.sparse == "exact":
            moved = var.assign(x, read_value=False)
        else:
            moved = rows.write(var, indices, tf.gather(x, indices))
        return tf.group(moved, *_assigned(slots, s))


def _start_of(initial: Initial, var: Any, shape: Any, dtype: Any) -> Any:
    return initial.make(var, dtype)


def _assigned(slots: Mapping[str, Any], s: Scalars) -> list[Any]:
    return [slot.assign(getattr(s, n), read_value=False) for n, slot in slots.items()]
