"""A format for an optimizer's state that tfopt does not have: safetensors, as one file.

https://github.com/huggingface/safetensors: the length of a header, the header in JSON, the numbers.
What it shows is that a format needs a snapshot and nothing else.
"""

import json
import pathlib
import struct

import numpy as np
import tensorflow as tf

from tfopt._state.snapshot import Entry, Snapshot

NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64"}
PARTS = ("scalars", "hypers", "added")


def save(optimizer, path):
    """Writes the state of an optimizer."""
    snapshot = optimizer._engine.state.snapshot()
    arrays = {f"{p}|{name}": value for p in PARTS for name, value in getattr(snapshot, p).items()}
    for number, block in enumerate(snapshot.blocks):
        arrays |= {f"{number}|{entry.path}|{entry.slot}": entry.value for entry in block}
    arrays |= {f"listed|{number}": value for number, value in enumerate(snapshot.listed)}
    codes = {name: code for code, name in NAMES.items()}
    header, data = {}, b""
    for name, value in arrays.items():
        value = np.asarray(value)
        end = len(data) + value.nbytes
        header[name] = {
            "dtype": codes[value.dtype.name],
            "shape": value.shape,
            "data_offsets": [len(data), end],
        }
        data += value.tobytes()
    text = json.dumps(header).encode()
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


def load(optimizer, path):
    """Loads what `save` wrote, all of it or nothing."""
    content = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    data, parts, blocks, listed = content[8 + length :], {part: {} for part in PARTS}, {}, []
    for name, what in json.loads(content[8 : 8 + length]).items():
        start, end = what["data_offsets"]
        dtype = tf.as_dtype(NAMES[what["dtype"]]).as_numpy_dtype
        value = np.frombuffer(data[start:end], dtype).reshape(what["shape"])
        place, *rest = name.split("|")
        if place == "listed":
            listed.append(value)
        elif place in parts:
            parts[place][rest[0]] = value
        else:
            blocks.setdefault(place, []).append(Entry(*rest, value))
    snapshot = Snapshot(blocks=list(blocks.values()), listed=listed, **parts)
    optimizer._engine.state.load(snapshot, "the safetensors file")
