"""What Keras 3 and tf-keras are, and what they ask of an optimizer."""
