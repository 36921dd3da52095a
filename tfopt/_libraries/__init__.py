"""TensorFlow, Keras 3 and tf-keras, as tfopt uses them."""
