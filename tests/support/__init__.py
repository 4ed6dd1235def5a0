"""Shared helpers of the tests: the repository, MLflow stores, browser pages, processes, faults."""
