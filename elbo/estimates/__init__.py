"""Estimators of log p(x) for latents of any dimension: lower bounds, and how far to trust them."""
