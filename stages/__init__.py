"""The stages: one script each, `python -m stages.<name>`."""

import sys

from pipeline import console, guard, processor

processor.settle()  # before torch and numpy load, however Python was started
# Python's mark of a module that `-m` runs, while its package is imported
if sys.argv[0] == "-m":
    console.explained(guard.stand)
