"""Whether results are reproduced: `make check`, `make verify`, `make audit`."""
