"""Ways to bring the state of one optimizer into another, for tests of what goes on afterwards."""

import warnings

import safetensors_format
import tensorflow as tf

import tfopt


def by_list(optimizer, again, trained, variables, path):
    again.build(variables)
    again.set_weights(optimizer.get_weights())


def by_keras(optimizer, again, trained, variables, path):
    store = {}
    optimizer.save_own_variables(store)
    again.build(variables)
    again.load_own_variables(store)


def by_checkpoint(optimizer, again, trained, variables, path):
    tf.train.Checkpoint(optimizer=optimizer, variables=trained).write(str(path))
    own = tf.train.Checkpoint(optimizer=again, variables=variables)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tfopt.TfoptWarning)  # that it changes numbers
        own.read(str(path))
        again.build(variables)


def by_safetensors(optimizer, again, trained, variables, path):
    again.build(variables)
    safetensors_format.save(optimizer, path)
    safetensors_format.load(again, path)
