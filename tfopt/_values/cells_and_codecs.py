"""How values are stored: reads and writes variables and slots, whole or by rows.

A codec says in which variables a value is stored. The identity stores it in one variable, as it
is. `MASTER` stores a 16-bit variable together with the float32 numbers that it was rounded from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tfopt._libraries import dtensor, replicas, tf_variables
from tfopt._values import rows

VALUE = ""  # the name of a variable's own cell, next to those of its slots


class Codec:
    """How a value is stored in variables. This class is the identity: it stores a value as it is.

    Each part of what is stored is a variable, named after the slot and the part's suffix. The part
    has this name in `get_slot`, `weights`, files and checkpoints. The first part, whose suffix is
    empty, is the slot itself. Parts are saved as they are stored, so state is transferred exactly.

    Codecs of one class and configuration must be equal. They must hold no tensor and no part of an
    optimizer, because compiled functions keep them as long as the process lives.
    """

    suffixes: Sequence[str] = ("",)  # of the names of the variables
    by_rows = True  # whether the rows of a value are the rows of all that is stored

    def encode(self, value: Any) -> Sequence[Any]:
        """Returns what is stored for a value, a tensor for each part."""
        return (value,)

    def decode(self, *stored: Any) -> Any:
        """Returns the value for what is stored."""
        return stored[0]


class MasterCodec(Codec):
    """A 16-bit variable, and the master weights that it was rounded from.

    If you assign a value to the variable, the next step starts from that value.
    """

    suffixes = ("", "master_weight")

    def encode(self, value: Any) -> Sequence[Any]:
        """Returns the value twice: each variable rounds it to its own dtype."""
        return value, value

    def decode(self, *stored: Any) -> Any:
        """Returns the master weights, or the variable wherever they do not round to it."""
        variable, master = stored
        # Bits are compared, since XLA may leave out a rounding between two floating-point numbers.
        rounded, bits = (
            tf.bitcast(tf.cast(y, variable.dtype), tf.int16) for y in (master, variable)
        )
        return tf.where(tf.equal(rounded, bits), master, tf.cast(variable, master.dtype))


IDENTITY, MASTER = Codec(), MasterCodec()


class Cell(NamedTuple):
    """A value that an optimizer keeps: its variables, and the codec that stores it in them."""

    parts: tuple[Any, ...]
    codec: Codec = IDENTITY
    rowed: bool = True  # whether it has a row for each row of the optimizer's variable

    @property
    def variable(self) -> Any:
        """Its first variable: a model's own, or the slot."""
        return self.parts[0]

    def on_device_of(self, copy: Any) -> Cell:
        """Returns the same cell with one replica's copies: those on the device of `copy`."""
        return self._replace(
            parts=tuple(replicas.copy_on_device_of(part, copy) for part in self.parts)
        )

    def read(self, indices: Any = None) -> Any:
        """Reads the value, or some rows of it, if it has rows."""
        if indices is None or not self.rowed:
            return self.codec.decode(*map(dtensor.read, self.parts))
        if self.codec.by_rows:
            return self.codec.decode(*[rows.read(part, indices) for part in self.parts])
        return tf.gather(self.read(), indices)

    def write(self, value: Any, indices: Any = None) -> None:
        """Overwrites the value, or some rows of it, which must be unique, if it has rows."""
        by_rows = indices is not None and self.rowed
        if by_rows and not self.codec.by_rows:  # then the whole value is read and written
            value = tf.tensor_scatter_nd_update(self.read(), indices[:, tf.newaxis], value)
            by_rows = False
        for part, stored in zip(self.parts, self.codec.encode(value), strict=True):
            if by_rows:
                rows.write(part, indices, stored)
            else:
                tf_variables.write(part, stored)

    def add(self, value: Any, indices: Any = None) -> None:
        """Adds to a sum that the identity stores, or to rows of it, which may be repeated."""
        [part] = self.parts
        if indices is None:
            value = dtensor.laid_out_as(part, tf.cast(value, part.dtype))
            tf_variables.add(part, value)
        else:
            rows.add(part, indices, value)
