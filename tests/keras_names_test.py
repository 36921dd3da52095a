"""Names that Keras asks for, those of Keras that do not show, and processes with another Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from processes import run_code

import tfopt


def test_public_names_are_tfopts_own():
    """Nothing that a Keras base class offers shows through."""
    for name in dir(tfopt.Optimizer):
        if not name.startswith("_"):
            owner = next(c for c in tfopt.Optimizer.__mro__ if name in vars(c))
            assert owner is tf.Module or owner.__module__.startswith("tfopt"), (name, owner)


def test_nothing_of_tensorflows_is_overridden_by_a_keras_base():
    """Such as tf-keras' `_trackable_children`, which forgets what is created after a restore."""
    core = {name for cls in tf.Module.__mro__ for name in vars(cls)} - {"__doc__", "__module__"}
    for name in core:
        owner = next(c for c in tfopt.Optimizer.__mro__ if name in vars(c))
        assert owner.__module__.split(".")[0] not in ("keras", "tf_keras"), name


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("stateless_apply", "it is for Keras' JAX backend"),
        ("update_step", "override `update`"),
        ("add_variable", "use `add_weight`"),
        ("assign", "assign to the variable"),
    ],
)
def test_names_of_keras_that_mean_nothing_here(name, instead):
    opt = tfopt.Adam()
    assert not hasattr(opt, name)
    for owner in (opt, tfopt.Adam, tfopt.LossScaleOptimizer(opt)):
        with pytest.raises(AttributeError, match=f"no `{name}`: {instead}"):
            getattr(owner, name)


def test_apply_takes_two_lists():
    variables, opt = [tf.Variable(1.0), tf.Variable(2.0)], tfopt.SGD(0.5)
    grads = [tf.constant(1.0), tf.constant(1.0)]
    opt.apply(grads, trainable_variables=variables)
    opt.apply(grads)
    np.testing.assert_array_equal(variables, [0.0, 1.0])
    with pytest.raises(ValueError, match="grads"):
        opt.apply(grads[:1])


def test_keras_variables_in_a_bare_loop():
    variable, opt = keras.Variable([1.0, 2.0]), tfopt.SGD(0.5, momentum=0.5)
    opt.apply_gradients([(tf.constant([1.0, 1.0]), variable)])
    np.testing.assert_array_equal(variable.numpy(), [0.5, 1.5])
    assert opt.get_slot(variable, "momentum") is opt.get_slot(variable.value, "momentum")


# --- in new processes -----------------------------------------------------------------------------


def test_with_tf_use_legacy_keras():
    run_code(
        """
        import tensorflow as tf, numpy as np, tfopt
        assert tf.keras.Sequential.__module__.startswith("tf_keras")
        model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
        opt = tfopt.Adam()
        model.compile(optimizer=opt, loss="mse")
        model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
        assert model.optimizer is opt and opt.iterations.numpy() == 1
    """,
        TF_USE_LEGACY_KERAS="1",
    )


def test_without_tf_keras(tmp_path):
    path = str(tmp_path / "model.keras")
    run_code(f"""
        import sys
        class Missing:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] == "tf_keras":
                    raise ModuleNotFoundError(name)
        import importlib.util
        real = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *a: None if name == "tf_keras" else real(name, *a)
        sys.meta_path.insert(0, Missing())
        import keras, numpy as np, tfopt
        assert "tf_keras" not in sys.modules
        model = keras.Sequential([keras.layers.Dense(1)])
        model.compile(optimizer=tfopt.Adam(), loss="mse")
        model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
        assert tfopt.get("adam").iterations.numpy() == 0
        model.save({path!r})
        assert type(keras.models.load_model({path!r}).optimizer) is tfopt.Adam
    """)


def test_another_backend_is_refused_clearly(tmp_path):
    """The backend is faked: JAX and torch are not there to be asked."""
    out = run_code("""
        import keras
        keras.config.backend = lambda: "jax"
        try:
            import tfopt
        except ImportError as error:
            print(error)
    """)
    assert "jax" in out
    assert "KERAS_BACKEND=tensorflow" in out
