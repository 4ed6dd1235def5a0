"""What is wrong on this machine, and how to repair it: `make doctor`."""
