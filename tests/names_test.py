"""The names that tfopt takes on an optimizer: few, and each because somebody demands it."""

import copy
import pickle

import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.groups import biases_and_norms

DEMANDED = {  # private names of the class and of its instances, and by whom
    "_create_or_restore_slot_variable": "TensorFlow: checkpoints call it",
    "_module_variables": "TensorFlow: where a tf.Module around it finds the variables",
    "_name": "TensorFlow: tf.Module reads it; and OptimizerV2",
    "_scope_name": "TensorFlow: tf.Module reads it",
    "_trackable_children": "TensorFlow: checkpoints and SavedModels call it",
    "_lock": "Keras 3: its `__setattr__` reads it",
    "_obj_type": "Keras 3: its files call it",
    "_trainable_variables": "Keras 3: `SwapEMAWeights` reads it",
    "_model_variables_moving_average": "Keras 3: `SwapEMAWeights` reads it",
    "_built": "tf-keras: its loss-scale wrapper reads it",
    "_distribution_strategy": "tf-keras: its TensorBoard callback reads it",
    "_learning_rate": "tf-keras: its TensorBoard callback reads it",
    "_mesh": "tf-keras: its training loop reads it",
    "_run_with_dtensor": "tf-keras: its training loop reads it",
    "_aggregate_gradients": "OptimizerV2: wrappers override it and call `super`",
    "_clip_gradients": "Keras 3 and tf-keras: subclasses override it and call `super`",
    "_compute_gradients": "OptimizerV2: wrappers override it and call `super`",
    "_decayed_lr": "OptimizerV2: hooks call it",
    "_get_hyper": "OptimizerV2: hooks call it",
    "_serialize_hyperparameter": "OptimizerV2: `get_config` of a subclass calls it",
    "_set_hyper": "OptimizerV2: the constructor of a subclass calls it",
    "_declared": "tfopt: what the class declares",
    "_engine": "tfopt: all its parts",
    "_formula_differs_in_keras": "tfopt: an optimizer's file declares it",
    "_positional": "tfopt: an optimizer's file declares it",
}
TENSORFLOW_S_OWN = "_self_"  # with which the attributes begin that its tracking keeps


def private(names):
    return {name for name in names if name.startswith("_") and not name.startswith("__")}


def test_private_names_are_few_and_demanded():
    ours = [cls for cls in tfopt.Optimizer.__mro__ if cls.__module__.split(".")[0] == "tfopt"]
    of_class = private(name for cls in ours for name in vars(cls))
    optimizer, x = tfopt.Adam(use_ema=True, gradient_accumulation_steps=2), tf.Variable([1.0])
    for _ in range(3):
        optimizer.apply_gradients([(tf.ones([1]), x)])
    with optimizer.averaged_weights():
        pass
    optimizer.flush()
    attributes = {name for name in vars(optimizer) if not name.startswith(TENSORFLOW_S_OWN)}
    assert attributes == private(attributes)
    assert of_class | attributes == DEMANDED.keys()
    assert len(DEMANDED) <= 25


FREE = """
    _step _cache _names _saved _scalars _begin _decay _transform _excluded _slots _hypers _statics
    _now _skip _guard _watch _warned _windows _pending _original _iterations _counters _policies
    _state _paths _functions _apply _update _aggregate _inputs _current _rows_word _moves_rows
""".split()


def trained(cls):
    """The values after some steps with a copy between, and the optimizer."""
    x = tf.Variable(tf.ones([3, 2]))
    arguments = {
        "weight_decay": 0.5,
        "clipnorm": 1.0,
        "exclude_from_weight_decay": [biases_and_norms],
    }
    optimizer = cls(0.25, use_ema=True, gradient_accumulation_steps=2, **arguments)
    for step in range(6):
        if step == 2:
            optimizer = copy.deepcopy(optimizer)
        optimizer.apply_gradients([(tf.cos(x), x)])
    optimizer.flush()
    return [x.numpy(), *optimizer.get_weights()], optimizer


def test_a_subclass_may_have_attributes_of_its_own():
    class Mine(tfopt.AdamW):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            for name in FREE:
                setattr(self, name, [name])

    values, optimizer = trained(Mine)
    for value, other in zip(values, trained(tfopt.AdamW)[0], strict=True):
        np.testing.assert_array_equal(value, other)
    assert all(getattr(optimizer, name) == [name] for name in FREE)


def test_a_subclass_may_have_methods_of_its_own():
    def method(self, *args, **kwargs):
        raise AssertionError("called by nobody but the user")

    values, optimizer = trained(type("Mine", (tfopt.AdamW,), dict.fromkeys(FREE, method)))
    for value, other in zip(values, trained(tfopt.AdamW)[0], strict=True):
        np.testing.assert_array_equal(value, other)
    assert all(getattr(optimizer, name).__func__ is method for name in FREE)


def test_the_one_name_that_is_taken_says_so():
    with pytest.raises(AttributeError, match="`_engine`"):
        type("Mine", (tfopt.SGD,), {"_engine": None})
    with pytest.raises(AttributeError, match="`_engine`"):
        tfopt.SGD()._engine = None


def test_nothing_of_a_step_stays_on_an_optimizer():
    """Neither of one that is taken, nor of one that fails, nor of one that is only traced."""
    optimizer, x = tfopt.Adam(clipnorm=1.0), tf.Variable([1.0, 2.0])

    def attributes():
        # What says which variables there are, and which functions were made for them.
        return {n: v for n, v in vars(optimizer._engine).items() if n not in ("functions", "state")}

    optimizer.apply_gradients([(tf.ones([2]), x)])
    before = attributes()
    optimizer.apply_gradients([(tf.ones([2]), x)])
    tf.function(lambda: optimizer.apply_gradients([(tf.ones([2]), x)])).get_concrete_function()
    with pytest.raises(ValueError, match="shape"):
        optimizer.apply_gradients([(tf.ones([3]), x)])
    assert attributes().keys() == before.keys()
    assert all(value is before[name] for name, value in attributes().items())


def test_a_pickle_names_what_stays_importable():
    names = pickle.dumps(tfopt.SGD(momentum=0.5))
    for name in (b"tfopt.optimizers.sgd", b"tfopt._state.pickle_and_deepcopy"):
        assert name in names
