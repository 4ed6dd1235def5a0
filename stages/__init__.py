"""One file a stage: read params, load, call, save."""
