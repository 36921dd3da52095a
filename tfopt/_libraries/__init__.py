"""The ground: what tfopt takes from TensorFlow, Keras 3 and tf-keras."""
