"""The life of a step: from gradients to variables."""
