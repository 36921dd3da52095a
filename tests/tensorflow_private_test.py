"""What tfopt asks TensorFlow under private names is answered as those names promise."""

import tensorflow as tf

from tfopt._libraries import tensorflow_private


def test_whether_xla_traces_is_known():
    seen = []

    @tf.function(jit_compile=True)
    def compiled():
        seen.append(tensorflow_private.inside_xla())
        return tf.constant(1)

    @tf.function
    def outer():
        seen.append(tensorflow_private.inside_xla())
        return compiled()

    outer()
    assert seen == [False, True]
    assert tensorflow_private.inside_xla() is False


def test_a_copy_knows_the_variable_that_it_is_a_copy_of(mirrored):
    with mirrored.scope():
        variable = tf.Variable(1.0)
    for copy in variable.values:
        assert tensorflow_private.mirrored_variable(copy) is variable
    alone = tf.Variable(1.0)
    assert tensorflow_private.mirrored_variable(alone) is alone


def test_variables_are_told_apart_in_a_session_too():
    with tf.Graph().as_default():
        one, other = (tf.compat.v1.Variable(1.0, use_resource=True) for _ in range(2))
        identities = [tensorflow_private.identity_of(v) for v in (one, other, one)]
    assert identities[0] == identities[2] != identities[1]
