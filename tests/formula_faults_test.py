"""Each fault in a formula is noticed by a row of the table, or is in a list with the reason."""

import numpy as np
import pytest
from cases import CASES
from conformance_test import train_reference
from formula_faults import SHAPES, STEPS, faults, functions_of, run
from training import ALL, gradients

import tfopt

CLASSES = [getattr(tfopt, name) for name in tfopt.optimizers.__all__]
# Faults that change no result, by class, as parts of what is said of them.
EQUAL = {}


def reference(case):
    return train_reference(case, gradients(STEPS, shapes=SHAPES), SHAPES)


def rows_of(cls):
    return [case for case in CASES if case.cls is cls]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_the_formula_without_its_engine_is_the_same(cls):
    for case in rows_of(cls):
        np.testing.assert_allclose(list(run(case)), reference(case), rtol=1e-8, atol=1e-10)


@pytest.mark.skipif(not ALL, reason="takes minutes: `make test-all`")
@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_faults_are_noticed(cls, monkeypatch):
    expected = {case.name: reference(case) for case in rows_of(cls)}
    missed, count = [], 0
    for holder, name in functions_of(cls):
        for text, faulty in faults(holder, name):
            count += 1
            with monkeypatch.context() as patch:
                patch.setattr(holder, name, faulty)
                if not any(is_noticed(case, expected[case.name]) for case in rows_of(cls)):
                    missed.append(text)
    known = EQUAL.get(cls.__name__, ())
    assert count > 3
    assert [text for text in missed if not any(part in text for part in known)] == []


def is_noticed(case, expected):
    """At the first step that differs. A fault may also be one of dtype or shape, and raise."""
    try:
        steps = zip(run(case), expected, strict=True)
        return not all(np.allclose(*pair, rtol=1e-8, atol=1e-10) for pair in steps)
    except Exception:
        return True
