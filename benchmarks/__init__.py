"""`make bench`: speed as a ratio to a reference that runs in turn on the same machine."""

from workflow.core import processor

processor.apply()  # so that this process computes with the settings of a stage
