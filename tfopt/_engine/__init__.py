"""A step of an optimizer: from gradients to updated variables."""
