"""What Keras 3 and tf-keras ask of an optimizer."""
