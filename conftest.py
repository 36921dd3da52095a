"""Names that doctests use without importing them."""

import pytest


@pytest.fixture(autouse=True)
def names(request):
    """Gives doctests `tf` and `tfopt`."""
    if "doctest_namespace" in request.fixturenames or hasattr(request.node, "dtest"):
        import tensorflow as tf

        import tfopt

        request.getfixturevalue("doctest_namespace").update(tf=tf, tfopt=tfopt)
