"""What files and checkpoints hold of optimizers, read without running code from them."""
