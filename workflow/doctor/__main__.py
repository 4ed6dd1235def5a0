"""What is wrong with this project on this machine: `make doctor` repairs what it can, and explains the rest.

`make repro` starts with `--first`: it repairs what would stop or falsify the pipeline, and checks no more.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

from workflow.core import packages
from workflow.core.errors import UserError
from workflow.core.files import read_json
from workflow.core.params import load
from workflow.doctor import dvc_files, git, machine, outputs
from workflow.doctor.dvc_files import Check, Finding
from workflow.runs.console import run, say, watch
from workflow.runs.project import imported, project


def main() -> None:
    parser = argparse.ArgumentParser("python -m workflow.doctor", description=__doc__)
    parser.add_argument("--first", action="store_true", help="before the pipeline: repair what would stop it")
    first = parser.parse_args().first
    if first:
        for finding in (*git.missing_repository(), *git.conflicts()):
            raise UserError(str(finding))
    running = dvc_files.running_dvc()
    if first:
        with watch("checks before the pipeline"):
            if not running:  # else no file may be changed, and the next dvc says which one runs
                repair()
            prepare()
        return
    if running:
        raise UserError(
            f"dvc (process {running[0]}) is running in this folder: its files cannot be checked meanwhile\n"
            "  Wait for it to end, or stop it, then run this again."
        )
    left = 0
    for title, check in CHECKS.items():
        findings = list(examine(check))
        print(f"{'!' if findings else 'ok':<3} {title}", flush=True)
        for finding in findings:
            print(f"      {finding}", flush=True)
        left += sum(not finding.repaired for finding in findings)
    if left:
        sys.exit(f"\n{left} problem{'s' * (left > 1)} left, see above")


def repair() -> None:
    """Repairs what would stop the pipeline or falsify its results."""
    for check in (git.line_ends, *dvc_files.FIRST, outputs.run_cache, outputs.referenced):
        for finding in examine(check):
            say(f"repaired: {finding.fault}: {finding.remedy}" if finding.repaired else str(finding))


def prepare() -> None:
    """Checks params.yaml and permissions; runs the stages again that DVC would skip, but must run."""
    load(imported(project().schema))
    for finding in machine.permissions():
        raise UserError(f"{finding.fault}\n  {finding.remedy}")
    stages = []
    if changed := packages.changed():
        say("packages have changed since the pipeline ran: " + "; ".join(changed))
        stages.append("record_packages")
    for stage, file in project().stand_ins.items():
        # missing or damaged: DVC runs the stage, or a later stage reports it
        with suppress(OSError, UserError):
            about = read_json(file)
            if about.get("dataset") != about.get("requested"):
                say(f"{file} names a stand-in; running {stage} again for the requested dataset")
                stages.append(stage)
    for stage in stages:
        command = ["dvc", "repro", "--quiet", "--force", "--single-item", stage]
        if status := subprocess.run(command).returncode:
            sys.exit(status)


def examine(check: Check) -> Iterator[Finding]:
    """The findings of a check; a file that cannot be read is one, and does not stop the other checks."""
    try:
        yield from check()
    except OSError as error:
        yield Finding(
            f"{error.filename or 'a file'} cannot be read or written: {error.strerror}",
            "`ls -ld` shows who may; if the disk fails, copy what can still be read",
        )


CHECKS: dict[str, Check] = {
    "stages whose dvc was killed": dvc_files.orphans,
    "packages are those pinned and recorded": machine.versions,
    "space on the disk": machine.disk_space,
    "permissions": machine.permissions,
    "the user's name and home": machine.user,
    "params.yaml": machine.params,
    "git": git.git,
    "dvc.lock": dvc_files.dvc_lock,
    "DVC's list of running processes": dvc_files.rwlock,
    "DVC's queue": dvc_files.queue,
    "half-written files": dvc_files.unfinished_files,
    "DVC's cache, object by object": outputs.cache,
    "DVC's records of runs": outputs.run_cache,
    "data and models are as in dvc.lock": outputs.damaged_outputs,
    "no output is missing": outputs.missing_outputs,
    "no output of a removed variant": machine.undeclared,
    "MLflow's store": outputs.mlflow_store,
    "checkpoints": machine.checkpoints,
}


if __name__ == "__main__":
    run(main)
