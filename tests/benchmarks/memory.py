"""Memory of slots, and what a step takes for a moment; a process for each contender."""

import functools
import gc
import re
from pathlib import Path

import child
import contenders
import problems
import tensorflow as tf
from suite import Case

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
# Whatever is large is given back at once, so that memory at rest holds no freed temporaries:
# oneDNN would bring an allocator that keeps them.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "TF_ENABLE_ONEDNN_OPTS": "0",
}
VARIANTS = {"": {}, " global_clipnorm": {"global_clipnorm": 1.0}}


def cases():
    if not CLEAR.exists():  # only Linux counts the peak anew
        return
    for variant, arguments in VARIANTS.items():
        title = f"memory Adam{variant}, transformer"
        yield Case((title,), functools.partial(_ask, title, "transformer", arguments))
    title = "memory Adam, 1e6 uniform"
    yield Case((title,), functools.partial(_ask, title, "1e6", {}))


def _ask(title, problem, arguments, settings):
    del settings
    libraries = contenders.DENSE if problem in problems.DENSE else contenders.SPARSE
    figures = {
        library: child.ask(__file__, library, problem, arguments, environment=ALLOCATOR)
        for library in libraries
    }
    return [{"section": "memory", "title": title, "figures": figures}]


def _measure(library, problem, arguments):
    if problem in problems.DENSE:
        values, gradients = problems.dense(problem)
        batches = [[tf.constant(gradient) for gradient in gradients]]
        problems.dense.cache_clear()
    else:
        value, [(indices, gradient), *_] = problems.sparse(problem, "uniform")
        shape = tf.constant(value.shape, tf.int64)
        values = [value]
        batches = [[tf.IndexedSlices(tf.constant(gradient), tf.constant(indices), shape)]]
        problems.sparse.cache_clear()
    made = contenders.make_all([library], "Adam", arguments, values, batches, "graph")
    if not made:
        return None
    step = made[library]
    for _ in range(3):
        step.step()
    gc.collect()
    CLEAR.write_text("5")  # the peak so far is forgotten
    resting = _kilobytes("VmRSS")
    for _ in range(3):
        step.step()
    temporary = _kilobytes("VmHWM") - resting
    return {"slots": step.slot_bytes(), "temporary": 1024 * temporary}


def _kilobytes(name):
    return int(re.search(rf"{name}:\s+(\d+)", STATUS.read_text()).group(1))


if __name__ == "__main__":
    child.serve(_measure)
