"""Analyses of samples, of latents, of lines between them, and of differences between models."""
