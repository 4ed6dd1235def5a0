"""What a person reads: the report, the summary, comparisons."""

import workflow  # noqa: F401  handles signals while the programs here are imported
