"""What Keras 3 and tf-keras call and read on an optimizer."""
