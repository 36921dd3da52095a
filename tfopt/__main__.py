"""`python -m tfopt`, which does what the command `tfopt` does.

Python imports the package `tfopt` before this file, and so TensorFlow. The command `tfopt` does
not: see `tfopt_command`.
"""

from __future__ import annotations

from tfopt_command.main import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
