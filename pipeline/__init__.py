"""The plumbing: params, files, downloads, tracking, console. Knows no VAE."""

import sys

# Python's mark of a module that `-m` runs, while its package is imported: ours before all that is slow.
# `stages` imports this first, too. Before this line only Python itself has started, which nothing here can
# take signals for.
if sys.argv[0] == "-m":
    from pipeline.console import until_run

    until_run()
