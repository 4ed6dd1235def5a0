"""The other problems of the assignment: quadratics and annuli."""
