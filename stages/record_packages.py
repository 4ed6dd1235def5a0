"""Stage record_packages: the versions of the packages that can change an output, a file for each import name.

Other stages depend on the files of what they import, so another torch reruns what computes with torch, and
another matplotlib the figures. DVC looks at constraints.txt; what is installed by hand, `make repro` sees.
"""

from __future__ import annotations

from elbo.layers import ONE_DNN
from pipeline import packages
from pipeline.console import run


def main() -> None:
    packages.record(torch_lacks="" if ONE_DNN else "oneDNN's linear layer")


if __name__ == "__main__":
    run(main)
