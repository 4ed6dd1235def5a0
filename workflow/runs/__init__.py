"""A run of a stage: what it prints, waits for and leaves behind. It changes no output."""
