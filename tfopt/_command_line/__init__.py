"""Commands of `tfopt` that need TensorFlow and are no use as functions."""
