"""Stage record_packages: the versions of the packages that can change an output, a file for each import name.

Other stages depend on the groups of the packages that they import: another torch reruns what computes,
another matplotlib the figures. DVC sees a changed constraints.txt, `make repro` also a manual install.
"""

from elbo.models.layers import ONE_DNN
from workflow.core import packages
from workflow.runs.console import warn


def main() -> None:
    for warning in packages.record(torch_lacks="" if ONE_DNN else "oneDNN's linear layer"):
        warn(warning)
