"""The plumbing: params, files, downloads, tracking, console. Knows no VAE."""
