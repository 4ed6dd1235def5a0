"""Speed, as a ratio to a peer that runs on the same machine in turns: `make bench`."""

import stages  # noqa: F401  what is timed in this process computes with a stage's settings
