"""A codec that keeps slots in 8 bits: what it stores, under which names, for which gradients."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf
from extensions import CodedAdam, EightBits, coded, through_codes
from training import value_of
from training_modes import LARGE, SHAPES, adamw, assert_close, first_values, names_of, sums

import tfopt


def test_a_codec_stores_slots_in_other_variables(mode):
    shapes = [LARGE, (5, 3), (4,)]
    steps, opt = mode.gradients(8, shapes), CodedAdam(0.01)
    variables = mode.train(opt, steps, shapes)
    starts = first_values(shapes).values()
    exact = [adamw(x, g, 0.01) for x, g in zip(starts, sums(steps), strict=True)]
    expected = [
        adamw(x, g, 0.01, stored=through_codes) for x, g in zip(starts, sums(steps), strict=True)
    ]
    for variable, x, other, first in zip(variables, expected, exact, starts, strict=True):
        moved, off = np.linalg.norm(x - first), np.linalg.norm(value_of(variable) - x)
        assert off < 1e-3 * moved < np.linalg.norm(other - x)  # a code may be rounded otherwise
        m, largest = opt.get_slot(variable, "m"), opt.get_slot(variable, "m_absmax")
        assert (m.dtype, m.shape) == (tf.int8, variable.shape)
        assert (largest.dtype, largest.shape) == (tf.float32, [-(-first.size // 16)])
        assert np.abs(value_of(m)).max() == 127


def test_parts_of_a_codec_are_known_by_name(mode):
    """In `weights` each part comes after the slot that it belongs to; files have the names."""
    opt, variables = CodedAdam(), mode.start(SHAPES[:2])
    mode.trainer(opt, variables)(mode.gradients(1, SHAPES[:2]))
    names = [f"{v}/{s}{p}" for s in "mv" for v in ("kernel_0", "bias_1") for p in ("", "_absmax")]
    assert names_of(opt.weights)[1:] == [f"{opt.name}/{name}" for name in names]
    assert opt.get_slot_names() == ["m", "m_absmax", "v", "v_absmax"]
    g = mode.gradients(1, SHAPES[:2])[0][0].sum(0)
    codes, largest, _ = coded(0.1 * g)
    np.testing.assert_array_equal(value_of(opt.get_slot(variables[0], "m")), codes)
    np.testing.assert_allclose(value_of(opt.get_slot(variables[0], "m_absmax")), largest, 1e-6)
    store = {}
    opt.save_own_variables(store)
    assert sorted(v.dtype.name for n, v in store.items() if n.startswith("slot.")) == (
        ["float32"] * 4 + ["int8"] * 4
    )


def test_the_table_of_an_optimizer_shows_what_a_codec_saves():
    variable = tf.Variable(tf.zeros(LARGE))
    [row] = tfopt.inspect.describe(CodedAdam(code_block=64), [variable])
    assert row.slots == dict(m=LARGE, m_absmax=(80,), v=LARGE, v_absmax=(80,))
    assert (row.slot_bytes, row.path) == (2 * (80 * 64 + 80 * 4), "XLA")


@pytest.mark.parametrize("lazy", [None, True], ids=["exact", "lazy"])
def test_gradients_of_rows_are_right_though_blocks_are_not_rows(mode, lazy):
    """Blocks of 16 in rows of 6: rows that share a block with others are coded anew with them."""
    shape = (20, 6)
    steps, opt = mode.rows(6, shape), CodedAdam(0.1, lazy=lazy)
    [variable] = mode.train(opt, steps, [shape])
    [x] = first = list(first_values([shape]).values())
    m, v = np.zeros(shape), np.zeros(shape)
    for t, [(values, indices)] in enumerate(steps, 1):
        g, rows = np.zeros(shape), np.unique(indices) if lazy else np.arange(20)
        np.add.at(g, indices.ravel(), values.reshape(-1, 6))
        m[rows] = 0.9 * m[rows] + 0.1 * g[rows]
        v[rows] = 0.999 * v[rows] + 0.001 * g[rows] ** 2
        alpha, x = 0.1 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t), x.copy()
        x[rows] -= alpha * m[rows] / (np.sqrt(v[rows]) + 1e-7)
        m, v = through_codes(m), through_codes(v)
    assert_close([variable], [x], 1e-4)
    assert np.all(value_of(variable)[19] == first[0][19])  # nobody asked for the last row
    np.testing.assert_allclose(value_of(opt.get_slot(variable, "m")), coded(m)[0], atol=1)


def test_codecs_of_one_configuration_share_compiled_functions():
    traces, gone = [], []

    class Traced(tfopt.Adam, policies=[EightBits], shared=True):
        def update(self, g, x, s, h):
            traces.append(1)
            return super().update(g, x, s, h)

    for options in ({}, {"learning_rate": 0.5}, {"code_block": 32}, {"code_block": 16}):
        opt, variable = Traced(**options), tf.Variable(tf.ones(LARGE))
        opt.apply_gradients([(tf.ones(LARGE), variable)])
        gone += [weakref.ref(opt), weakref.ref(variable)]
    del opt, variable
    gc.collect()
    assert len(traces) == 2
    assert not any(reference() for reference in gone)  # nothing of theirs is kept with functions
