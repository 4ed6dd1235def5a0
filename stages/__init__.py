"""The stages: one script each, `python -m workflow NAME`."""
