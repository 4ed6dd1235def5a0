"""The pictures: arrays in, a matplotlib Figure out."""
