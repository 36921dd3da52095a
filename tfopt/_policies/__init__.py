"""Options of every optimizer, called policies: one in each file. `order.py` has their order."""
