"""The exact likelihood of a model with a two-dimensional latent."""
