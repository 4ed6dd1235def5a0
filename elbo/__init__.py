"""The science: tensors in, tensors out. Knows no file, no DVC, no MLflow, no params.yaml."""
