"""Each fault in a formula is noticed by a row of the table, or is in a list with the reason."""

import numpy as np
import pytest
from cases import CASES
from conformance_test import train_reference
from formula_faults import SHAPES, STEPS, faults, functions_of, run
from training import EVERY_ONE, gradients

import tfopt

CLASSES = [getattr(tfopt, name) for name in tfopt.optimizers.__all__]
# Faults that change no result of the table, by class, as parts of what is said of them.
EQUAL = {
    "ADOPT": ["update, line 3: 1 -> 2"],  # of a quotient that is not used
    "ConditionalGradient": ["largest_part, line 7: 0 -> 1"],  # of a wide matrix as of a tall one
    "LAMB": ["update, line 8: 1 -> 2", "update, line 8: 0 -> 1"],  # where a norm is 0
    "LARS": ["update, line 7: 1 -> 2", "update, line 7: 0 -> 1"],  # where a norm is 0
    "Muon": [
        "+ TINY -> ",  # only against a division by 0
        "1 - h.normuon_beta -> ",  # a common factor, which the norm takes away again
        "update, line 16: 1 -> 2",  # likewise
        "update, line 13: 1 -> 2",  # of empty matrices
        "orthogonal, line 9: 0 -> 1",  # of a wide matrix as of a tall one
        "as_matrix, line 3: ",  # of kernels of attention: see muon_test.py
        "as_matrix, line 6: ",  # of shapes that are not known
        "larger, line 3: ",  # of shapes that are not known
    ],
    "RMSprop": ["h.rho * s.mg + (1 - h.rho) * g -> "],  # the mean is only squared
    "Yogi": ["(1 - h.beta_2) / tf.sign("],  # which is 1 or -1
}


def reference(case):
    return train_reference(case, gradients(STEPS, shapes=SHAPES), SHAPES)


def rows_of(cls):
    return [case for case in CASES if case.cls is cls]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_the_formula_without_its_engine_is_the_same(cls):
    for case in rows_of(cls):
        np.testing.assert_allclose(list(run(case)), reference(case), rtol=1e-8, atol=1e-10)


@pytest.mark.skipif(not EVERY_ONE, reason="takes minutes: `make test-all`")
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
    unknown = [text for text in missed if not any(part in text for part in known)]
    assert not unknown, "\n".join(unknown)
    assert count > 3


def is_noticed(case, expected):
    """At the first step that differs. A fault may also be one of dtype or shape, and raise."""
    try:
        steps = zip(run(case), expected, strict=True)
        return not all(np.allclose(*pair, rtol=1e-8, atol=1e-10) for pair in steps)
    except Exception:
        return True
