"""The tests: behaviour in their names, real tools in temporary folders."""
