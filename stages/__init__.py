"""The stages: one script each, `python -m stages.<name>`."""

import sys

# Python's mark of a module that `-m` runs, while its package is imported: before torch and numpy are
if sys.argv[0] == "-m":
    from pipeline import console, guard, processor

    processor.settle()
    console.explained(guard.stand)
