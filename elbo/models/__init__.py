"""The models: tensors in, tensors out."""
