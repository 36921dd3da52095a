"""What happens around an update: one policy a file. `ORDER` in `order.py` is their order."""
