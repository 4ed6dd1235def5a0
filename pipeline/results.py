"""The results that exist: in the working directory, at HEAD, and in every DVC experiment, by dvc.lock.

Nothing is checked out: at a commit, git and DVC's cache are read through DVC's file system.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.console import warn
from pipeline.files import digest, md5
from pipeline.identity import Inputs, declared, files_of, member, params_of

FORMAT = "2"  # of what is mirrored: runs of an earlier one are completed anew
KINDS = ("train_", "optimize_")  # stages whose results are runs: models, and minimizers of quadratics


@dataclass(frozen=True)
class Result:
    """What a stage made of its inputs, and what was measured of it.

    Attributes:
        sums: md5 by path, of all its files: the stage's outputs, reports and figures.
        revision: the commit that holds them; None: the working directory.
        here: what git does not hold of it has been computed or pulled here. Of a commit whose files git all
            holds nobody knows.
    """

    of: Inputs
    sums: dict[str, str]
    revision: str | None
    here: bool | None = True

    @property
    def state(self) -> str:
        """A digest of all that is to be mirrored."""
        settings = (f"{key}={value}" for key, value in sorted(self.of.short_params.items()))
        files = (f"{path}:{sum_}" for path, sum_ in sorted(self.sums.items()))
        return digest("\n".join([FORMAT, *settings, *files]).encode())

    @contextmanager
    def files(self) -> Iterator[Any]:
        """DVC's file system, which has `open(path)` and `get_file(path, to)`."""
        from dvc.repo import Repo

        with Repo(".", rev=self.revision) as repo:
            yield repo.dvcfs


@dataclass
class Found:
    """The best source of one identity, and all who have it.

    Attributes:
        commit: one that holds the result: HEAD, or that of the first experiment by name; None: none does.
        holders: all of these commits.
        experiments: names, sorted.
    """

    result: Result
    commit: str | None = None
    holders: set[str] = field(default_factory=set)
    experiments: list[str] = field(default_factory=list)
    here: bool = False


def all_results(*, committed: bool = False) -> dict[str, Found]:
    """Every result of this repository by its digest, of those that were computed or pulled here.

    Where several places have it, the files are those of the most complete one; of equals the working
    directory's before HEAD's before an experiment's.

    Args:
        committed: those that git alone has brought, too: a clone knows their numbers, and not their models.
    """
    from dvc.repo import Repo
    from dvc.repo.experiments.utils import exp_refs

    with Repo(".") as repo:
        head = _head(repo)
        named = sorted((ref.name, repo.scm.get_ref(str(ref))) for ref in exp_refs(repo.scm)) if head else []
    found: dict[str, Found] = {}
    for revision, name in [
        (None, ""),
        *([(head, "")] if head else []),
        *((rev, name) for name, rev in named),
    ]:
        try:
            of_revision = results(revision)
        except Exception as error:  # whatever an old commit holds, the others' results are there
            if revision is None:
                raise
            warn(f"{name or 'HEAD'} is left out: {type(error).__name__}: {str(error)[:200]}")
            continue
        for result in of_revision:
            one = found.setdefault(result.of.digest, Found(result))
            if len(result.sums) > len(one.result.sums):
                one.result = result
            if revision:
                one.commit = one.commit or revision
                one.holders.add(revision)
            if name:
                one.experiments.append(name)
            # an experiment comes by being run, or by `dvc exp pull`; HEAD, by `git clone`
            one.here |= bool(name) if result.here is None else result.here
    return {digest: one for digest, one in found.items() if one.here or committed}


def results(revision: str | None) -> list[Result]:
    """The results of a commit, or of the working directory, that belong together by dvc.lock."""
    from dvc.repo import Repo

    with Repo(".", rev=revision) as repo:
        stages = {str(stage.name): stage for stage in repo.index.stages}
        makers = {str(out.def_path): stage for stage in stages.values() for out in stage.outs}
        owned = _owned(repo, stages)
        found = []
        for name, files in sorted(owned.items()):
            stage = stages[name]
            if not _fresh(stage, makers):
                continue
            of = declared(repo, stage, lambda dep: str(dep.hash_info.value), _values)
            own = _sums(stage)
            if revision is None and (changed := _changed(own)):
                if edited := [path for path in changed if Path(path).exists()]:
                    warn(f"{name}: {edited[0]} is not as dvc.lock has it; `dvc repro` mends that")
                continue
            if revision is not None and not all(repo.dvcfs.exists(path) for path in own):
                continue
            measured = [maker for maker in files if _fresh(stages[maker], makers)]
            sums = {
                path: sum_
                for maker in measured
                for path, sum_ in _sums(stages[maker]).items()
                if path in files[maker]
                and (repo.dvcfs.exists(path) if revision else not _changed({path: sum_}))
            }
            # a stage that draws several runs reads the sections of all
            others = {member(other) for other in owned if member(other)[0] == of.family} - {
                (of.family, of.name)
            }
            params = {
                key: value
                for key, value in params_of([stages[maker] for maker in sorted(measured)], _values).items()
                if tuple(key.split(".")[:2]) not in others
            }
            here = True if revision is None else _cached(repo, stage)
            found.append(Result(replace(of, measured=params), own | sums, revision, here))
        return found


def _head(repo: Any) -> str | None:
    from dvc.scm import NoSCMError
    from scmrepo.exceptions import SCMError

    try:
        return str(repo.scm.resolve_rev("HEAD"))
    except (SCMError, NoSCMError):  # no commit yet, or no git
        return None


def _values(dep: Any) -> dict[str, Any]:
    return dep.hash_info.value if dep.hash_info else {}


def _fresh(stage: Any, makers: dict[str, Any]) -> bool:
    """Whether dvc.lock has the stage's result, and of the very inputs that it has the earlier stages make.

    After `dvc repro TARGET`, or a kill, it may hold an evaluation of a model that is gone.
    """
    if not all(item.hash_info for item in [*stage.deps, *stage.outs]):
        return False
    for path, dep in files_of(stage).items():
        maker = makers.get(path)
        if maker is None:
            continue
        (made,) = (out for out in maker.outs if str(out.def_path) == path)
        if made.hash_info != dep.hash_info or not _fresh(maker, makers):
            return False
    return True


def _sums(stage: Any) -> dict[str, str]:
    return {str(out.def_path): str(out.hash_info.value) for out in stage.outs}


def _cached(repo: Any, stage: Any) -> bool | None:
    """Whether DVC's cache has the stage's outputs; None: git holds all of them."""
    sums = [out.hash_info.value for out in stage.outs if out.use_cache]
    return all(repo.cache.local.exists(sum_) for sum_ in sums) if sums else None


def _changed(sums: dict[str, str]) -> list[str]:
    return [path for path, sum_ in sums.items() if not Path(path).is_file() or md5(path) != sum_]


def _owned(repo: Any, stages: Mapping[str, Any]) -> dict[str, dict[str, set[str]]]:
    """For each stage whose result is a run, the reports that others made of it, by the names of these stages.

    By the graph: a report is of the run with the name of the member that made it (`evaluate_elbo@tuned`),
    among those that this stage depends on. Where that leaves several, or the stage has no member and draws
    several, the path decides.
    """
    import networkx as nx

    owned: dict[str, dict[str, set[str]]] = {name: {} for name in stages if name.startswith(KINDS)}
    for name, stage in stages.items():
        if name in owned:
            continue
        read = {str(item.name) for item in nx.descendants(repo.index.graph, stage)} & owned.keys()
        same = {run for run in read if member(run)[1] == member(name)[1]}
        for path in (Path(str(out.def_path)) for out in stage.outs):
            if path.parts[0] != "reports":
                continue
            bearing = sorted((run for run in same or read if _bears(path, *member(run))), key=len)
            if len(same) == 1 or bearing:
                owner = next(iter(same)) if len(same) == 1 else bearing[-1]
                owned[owner].setdefault(name, set()).add(str(path))
    return owned


def _bears(path: Path, family: str, name: str) -> bool:
    """Whether a path has the name of a run: it lies in its folder, or is a figure called by it."""
    folder = Path("reports", family, name)
    return folder in path.parents or path.name.startswith(f"{family}_{name}_")
