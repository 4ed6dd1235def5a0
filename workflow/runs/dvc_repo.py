"""DVC's private API: all that this project uses of it, in one file. Importing DVC takes half a second."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workflow.core.errors import UserError
from workflow.core.files import md5


@contextmanager
def repository(revision: str | None = None) -> Iterator[Any]:
    """DVC's repository of this folder, at a commit or in the working directory."""
    from dvc.repo import Repo

    with Repo(".", rev=revision) as repo:
        yield repo


@contextmanager
def explained() -> Iterator[None]:
    """Inside, an error of DVC or of its git library becomes a UserError."""
    from dvc.exceptions import DvcException
    from pygit2 import GitError  # for one, in a repository that belongs to another user

    try:
        yield
    except (DvcException, GitError) as error:
        raise UserError(f"DVC cannot read this project: {error}\n  `make doctor` says what to do.") from None


def head(repo: Any) -> str | None:
    """The commit at HEAD, or None where there is no commit yet, or no git."""
    from dvc.scm import NoSCMError
    from scmrepo.exceptions import SCMError

    try:
        return str(repo.scm.resolve_rev("HEAD"))
    except (SCMError, NoSCMError):
        return None


def experiments(repo: Any) -> list[tuple[str, str]]:
    """The names of DVC's experiments, sorted, and their commits."""
    from dvc.repo.experiments.utils import exp_refs

    return sorted((ref.name, repo.scm.get_ref(str(ref))) for ref in exp_refs(repo.scm))


def ancestors(repo: Any, stage: Any) -> list[Any]:
    """The stages that a stage depends on, directly or not, sorted by name."""
    import networkx as nx

    return sorted(nx.descendants(repo.index.graph, stage), key=lambda item: str(item.name))


def due(repo: Any) -> tuple[set[str], set[str]]:
    """The stages that `dvc repro` has to run, and those after them, which it runs if their inputs change."""
    import networkx as nx

    graph = repo.index.graph
    changed: set[str] = set()
    later: set[str] = set()
    outputs: set[str] = set()  # of both
    for stage in reversed(list(nx.topological_sort(graph))):
        items = [*stage.outs, *(dep for dep in stage.deps if dep.fs_path not in outputs)]
        if stage.changed_stage() or any(item.workspace_status() for item in items):
            changed.add(stage.addressing)
            later |= {after.addressing for after in nx.ancestors(graph, stage)}
        if stage.addressing in changed | later:
            outputs |= {out.fs_path for out in stage.outs}
    return changed, later


def file_deps(stage: Any) -> dict[str, Any]:
    """The deps of a stage that are files or folders, by path."""
    return {str(dep.def_path): dep for dep in stage.deps if not hasattr(dep, "params")}


def params_of(stages: Iterable[Any], values: Callable[[Any], Any]) -> dict[str, Any]:
    """The params that stages declare, flattened (`line.a.lr`), by the `values` of a dependency on params."""
    from dvc.utils.flatten import flatten

    found: dict[str, Any] = {}
    for dep in [dep for stage in stages for dep in stage.deps if hasattr(dep, "params")]:
        found |= flatten(values(dep) or {})
    return found


def present_md5(item: Any) -> str:
    """The md5 of a dep or output on the disk; of a folder, DVC's md5 of its list of files."""
    path = Path(item.def_path)
    return str(item.get_hash().value) if path.is_dir() else md5(path)


def locked_md5(item: Any) -> str:
    """The md5 of a dep or output in dvc.lock; empty where it has none."""
    return str(item.hash_info.value) if item.hash_info else ""


def output_files(repo: Any, output: Any, revision: str | None) -> dict[str, str]:
    """The md5 of the output, or of each file in it if it is a folder, by path.

    Empty where the output is missing or differs from dvc.lock.
    """
    path, locked = str(output.def_path), locked_md5(output)
    if revision is None:
        if not Path(path).exists() or present_md5(output) != locked:
            return {}
        files = sorted(file for file in Path(path).rglob("*") if file.is_file())
        return {str(file): md5(file) for file in files} or {path: locked}
    if not repo.dvcfs.isdir(path):
        return {path: locked} if repo.dvcfs.exists(path) else {}
    found = sorted(str(file).lstrip("/") for file in repo.dvcfs.find(path))
    return {file: hashlib.md5(repo.dvcfs.cat_file(file)).hexdigest() for file in found}


def is_cached(repo: Any, stage: Any) -> bool | None:
    """Whether DVC's cache has the stage's outputs; None: git has all of them."""
    sums = [out.hash_info.value for out in stage.outs if out.use_cache]
    return all(repo.cache.local.exists(sum_) for sum_ in sums) if sums else None


def lock_fault(content: Any, *, run_record: bool = False) -> str:
    """Why DVC would refuse the content of a dvc.lock, or of a record in its run cache; else empty."""
    from dvc.schema import COMPILED_LOCK_FILE_STAGE_SCHEMA, COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    try:
        (COMPILED_LOCK_FILE_STAGE_SCHEMA if run_record else COMPILED_LOCKFILE_SCHEMA)(content)
    except Invalid as error:
        return str(error)
    return "" if content.get("outs") or not run_record else "it has no outs"


def without_git() -> bool:
    """Whether DVC is configured to work without git."""
    from dvc.config import Config, ConfigError

    try:
        return bool(Config(str(Path.cwd() / ".dvc"))["core"].get("no_scm"))
    except ConfigError:
        return False  # DVC reports the error
