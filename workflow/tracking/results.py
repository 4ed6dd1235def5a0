"""The results in the working directory, at HEAD and in every DVC experiment, according to dvc.lock.

Nothing is checked out: DVC's file system reads the files of a commit from git and from DVC's cache.
"""

import fnmatch
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from workflow.core.files import digest
from workflow.runs import dvc_repo
from workflow.runs.console import warn
from workflow.runs.identity import Inputs, declared, member
from workflow.runs.project import project

FORMAT = "2"  # of runs; those of an earlier format are completed again


@dataclass(frozen=True)
class StageResult:
    """What a stage computed from its inputs, and what later stages measured or drew of it."""

    inputs: Inputs
    files: dict[str, str]  # md5 by path: the stage's outputs, reports and figures
    revision: str | None  # the commit that has the files; None: the working directory
    local: bool  # computed or pulled here; a clone has the numbers of others, but not their models
    commits: list[str]  # all that hold the result: HEAD before those of experiments
    experiments: list[str]  # names, sorted

    @property
    def weights(self) -> str:
        """The path of the trained model; empty if there is none."""
        return next(iter(fnmatch.filter(self.files, "models/*")), "")

    @property
    def data(self) -> str:
        """The path of the data that it was trained on; empty if there are none."""
        return next(iter(fnmatch.filter(self.inputs.files, "data/*.npz")), "")

    @property
    def state(self) -> str:
        """A digest of all that the run should hold."""
        settings = (f"{key}={value}" for key, value in sorted(self.inputs.short_params.items()))
        files = (f"{path}:{md5}" for path, md5 in sorted(self.files.items()))
        metrics = (*project().metrics, *map(":".join, project().best.items()))
        return digest("\n".join([FORMAT, *metrics, *settings, *files]).encode())


def all_results(*, committed: bool = False) -> list[StageResult]:
    """The results of this repository, each once; those of the working directory first.

    Of the places that have a result, the one with most files counts; of equal ones the working directory
    before HEAD before an experiment. `committed` includes results that are not local.
    """
    places: list[tuple[str | None, str]] = [(None, "")]
    with dvc_repo.repository() as repo:
        if head := dvc_repo.head(repo):
            places += [(head, ""), *((commit, name) for name, commit in dvc_repo.experiments(repo))]
    merged: dict[str, StageResult] = {}
    for revision, experiment in places:
        try:
            results = results_of(revision, experiment)
        except Exception as error:  # whatever an old commit holds: the other places can be read
            if revision is None:
                raise
            warn(f"{experiment or 'HEAD'} is left out: {type(error).__name__}: {str(error)[:200]}")
            continue
        for result in results:
            if other := merged.get(result.inputs.digest):
                result = replace(
                    max(other, result, key=lambda item: len(item.files)),
                    local=other.local or result.local,
                    commits=other.commits + result.commits,
                    experiments=other.experiments + result.experiments,
                )
            merged[result.inputs.digest] = result
    return [result for result in merged.values() if result.local or committed]


def results_of(revision: str | None, experiment: str = "") -> list[StageResult]:
    """The results of a commit, or of the working directory, that are up to date according to dvc.lock."""
    locked_params = attrgetter("hash_info.value")
    results = []
    with dvc_repo.repository(revision) as repo:
        stages = {str(stage.name): stage for stage in repo.index.stages}
        outputs = {str(out.def_path): out for stage in stages.values() for out in stage.outs}
        reports_by_run = _reports_by_run(repo, stages)
        for name, reports in sorted(reports_by_run.items()):
            stage = stages[name]
            if not _is_current(stage, outputs):
                continue
            own = {str(out.def_path): dvc_repo.output_files(repo, out, revision) for out in stage.outs}
            if missing := [path for path, files in own.items() if not files]:
                if revision is None and Path(missing[0]).exists():
                    warn(f"{name}: {missing[0]} differs from dvc.lock; run `dvc repro`")
                continue
            makers = sorted(maker for maker in reports if _is_current(stages[maker], outputs))
            later = [dvc_repo.output_files(repo, out, revision) for maker in makers for out in reports[maker]]
            params = dvc_repo.params_of([stages[maker] for maker in makers], locked_params)
            # a stage that draws several runs reads the sections of all
            others = {member(run) for run in reports_by_run} - {member(name)}
            inputs = declared(repo, stage, dvc_repo.locked_md5, locked_params)
            for key, value in params.items():
                if tuple(key.split(".")[:2]) not in others:
                    inputs.measured[key] = value
            files = {path: md5 for part in (*own.values(), *later) for path, md5 in part.items()}
            # None: git has all files; an experiment is run or pulled here, HEAD may be just cloned
            cached = revision is None or dvc_repo.is_cached(repo, stage)
            local = bool(experiment) if cached is None else cached
            commits, experiments = [revision] if revision else [], [experiment] if experiment else []
            results.append(StageResult(inputs, files, revision, local, commits, experiments))
    return results


def _is_current(stage: Any, outputs: Mapping[str, Any]) -> bool:
    """Whether dvc.lock has the stage's result, computed from the `outputs` that it has of earlier stages.

    After `dvc repro TARGET`, or a kill, it may have the evaluation of an older model.
    """
    deps = dvc_repo.file_deps(stage)
    sources = [(dep, outputs[path]) for path, dep in deps.items() if path in outputs]
    return all(item.hash_info for item in (*stage.deps, *stage.outs)) and all(
        dep.hash_info == out.hash_info and _is_current(out.stage, outputs) for dep, out in sources
    )


def _reports_by_run(repo: Any, stages: Mapping[str, Any]) -> dict[str, dict[str, list[Any]]]:
    """For each stage whose result is a run, the outputs in reports/ of later stages, by these.

    A report belongs to the run with the name of the member that made it (`evaluate_line@a`), among those
    that this stage depends on. Where that leaves several, or the stage has no member and draws several, the
    report lies in a folder of the run's name, below one of its family's.
    """
    reports: dict[str, dict[str, list[Any]]] = {
        name: {} for name in stages if name.partition("@")[0] in project().runs
    }
    for name, stage in stages.items():
        if name in reports:
            continue
        runs = {str(item.name) for item in dvc_repo.ancestors(repo, stage)} & reports.keys()
        same_name = {run for run in runs if member(run)[1] == member(name)[1]}
        for out in stage.outs:
            parts = Path(str(out.def_path)).parts
            if parts[0] != "reports":
                continue
            owners = same_name
            if len(owners) != 1:
                folders = list(itertools.pairwise(parts))
                owners = {run for run in same_name or runs if member(run) in folders}
            for owner in sorted(owners)[:1]:
                reports[owner].setdefault(name, []).append(out)
    return reports
