"""MLflow: runs while a model trains, and runs completed from the files."""
