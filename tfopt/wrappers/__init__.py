"""Optimizers that hold an optimizer."""
