"""The workflow: runs, tracks, checks and repairs stages. It knows nothing of what they compute."""

import sys

# From here on a signal gives one line and no traceback, also while `python -m workflow` still imports.
if sys.argv[0] == "-m":
    from workflow.runs.console import exit_on_signals

    exit_on_signals()
