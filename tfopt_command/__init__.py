"""The command `tfopt`: what it can do without TensorFlow.

This package lies next to `tfopt` and not inside of it, because Python runs `tfopt/__init__.py`
before any module of `tfopt`, and that imports TensorFlow. So `--help`, `--version`, wrong
arguments and `tfopt inspect FILE.keras` need no TensorFlow. A command that trains or loads a
model lies in `tfopt`, and `main.py` imports it by name once the arguments are known to be right.
"""
