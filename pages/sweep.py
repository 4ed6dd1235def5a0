"""Compares settings on held-out images: `python -m pages.sweep "vae.tuned.lr=0.001,0.002 vae.tuned.seed=1"`.

Each combination is an experiment of DVC, run in a copy of the project, up to the stage that scores held-out
images. Its name has a digest of all params and of the changes since HEAD, so each is computed once.
"""

import functools
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ruamel.yaml.error import YAMLError

from pages.grid import USAGE, Settings, parse, summary
from workflow.core import dataset
from workflow.core.errors import UserError
from workflow.core.files import PARAMS, digest, read_yaml
from workflow.core.params import load, set_params
from workflow.runs import dvc_repo
from workflow.runs.console import Terminated, progress, run, say, warn, watch
from workflow.runs.project import imported, project
from workflow.runs.worktree import lacks, require_copyable, untracked_inputs

HELD_OUT = "data.validation"
MOST = 10_000  # images held out by default; fewer if this is over a sixth of the training images


def main() -> None:
    require_copyable()
    keys = parse(" ".join(sys.argv[1:]))
    stage, path, metric = target({key: keys[key] for key in keys if key != HELD_OUT})
    if HELD_OUT not in keys:
        keys[HELD_OUT] = [str(held_out())]
    if "0" in keys[HELD_OUT]:
        raise UserError(f"{HELD_OUT}=0 holds out no images to choose by; leave it out of KEYS")
    grid = [dict(zip(keys, values, strict=True)) for values in itertools.product(*keys.values())]
    varied = [key for key in keys if len(keys[key]) > 1]
    points: dict[str, Settings] = {}
    for settings in grid:  # all are checked before one runs
        one = name(settings, varied)
        # 1e-3 and 0.001 have one digest, and are one experiment
        if not any(other.endswith(one[one.rindex("-") :]) for other in points):
            points[one] = settings
    if files := untracked_inputs():
        warn(lacks(*files))
    say(f"{len(points)} experiments of {stage}, with {HELD_OUT}={keys[HELD_OUT][0]}")
    scores: dict[str, float] = {}
    faults: list[str] = []
    try:
        with watch("sweep"):
            for one in progress(points, total=len(points), label="sweep", unit="experiment"):
                before = score(one, path, metric)
                fault = compute(one, points[one], stage) if before is None else ""
                value = score(one, path, metric)
                if value is None:
                    faults.append(f"{one}: {fault or f'it has no {metric}'}")
                else:
                    scores[one] = value
                done = f"{len(scores) + len(faults)} of {len(points)}"
                say(f"[{done}] {one}: {'failed' if value is None else f'{metric} {value:.4f}'}")
    finally:  # after Ctrl-C, too
        print("\n".join(summary(points, varied, scores, metric, HELD_OUT)), flush=True)
    if faults:
        raise UserError(f"{len(faults)} of {len(points)} experiments failed:\n  " + "\n  ".join(faults))


def target(keys: Mapping[str, Sequence[str]]) -> tuple[str, str, str]:
    """The stage that scores held-out images of the keys' section; its file of metrics; the metric.

    Of the stages that write metrics of this section, the first one whose script has a metric `validation_…`.
    """
    varied = [key for key in keys if len(keys[key]) > 1] or list(keys)[:1]
    paths = [key.split(".") for key in varied]
    members = {tuple(path[:2]) for path in paths}
    if len(members) != 1 or min(map(len, paths)) < 3:
        raise UserError(f"KEYS gives several values to keys of one section, such as vae.tuned: {USAGE}")
    family, member = members.pop()
    with dvc_repo.explained(), dvc_repo.repository() as repo:
        for stage in sorted(repo.index.stages, key=lambda item: len(dvc_repo.ancestors(repo, item))):
            for path in [Path(str(out.def_path)) for out in stage.outs if out.metric]:
                script = Path("stages", f"{stage.name.partition('@')[0]}.py").read_text(encoding="utf-8")
                found = re.search(r'"(validation_\w+)"', script)
                if found and (family, member) in itertools.pairwise(path.with_suffix("").parts):
                    return str(stage.name), str(path), found[1]
    raise UserError(
        f"no stage writes a validation metric of {family}.{member}, and test metrics must not choose settings"
    )


def held_out() -> int:
    """How many images to hold out: as params.yaml says, or else a part of the training images."""
    if chosen := read_yaml()["data"]["validation"]:
        return int(chosen)
    if not (data := Path("data/binarized.npz")).is_file():
        raise UserError(f"{data} is missing, so the number of images is not known: `make repro`")
    return min(MOST, len(dataset.load(data).features["train"]) // 6)


def name(settings: Settings, varied: Sequence[str]) -> str:
    """The name of an experiment; raises a UserError if params.yaml has no such key, or refuses a value."""
    text = " ".join(f"{key}={value}" for key, value in settings.items())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, PARAMS.name)
        path.write_bytes(PARAMS.read_bytes())
        try:
            set_params(path, *(f"{key}={value}" for key, value in settings.items()))
            load(imported(project().schema), path=path)
        except UserError as error:
            raise UserError(f"{text}: {str(error).replace(str(path), 'params.yaml')}") from None
        except (YAMLError, AttributeError, TypeError):  # no value, or a key below one that is no section
            raise UserError(f"{text}: not keys and values of params.yaml") from None
        params = json.dumps(read_yaml(path), sort_keys=True)
    values = "-".join(f"{key.split('.')[-1]}-{settings[key]}" for key in varied or settings)
    return f"{re.sub('[^a-zA-Z0-9_.]+', '-', values)[:60]}-{digest(params.encode(), changes().encode())[:6]}"


@functools.cache  # the same for all experiments of a sweep
def changes() -> str:
    """What differs from HEAD and could change a result, params.yaml apart."""
    found = git("diff", "HEAD", "--", ".", ":!params.yaml", ":!dvc.lock", ":!reports")
    if found is None:
        raise UserError("no git repository with a commit here, and DVC keeps experiments as commits")
    return found


def compute(name: str, settings: Settings, stage: str) -> str:
    """Runs an experiment; returns why it failed. What it prints is not shown, as it has test metrics."""
    words = [word for key, value in settings.items() for word in ("-S", f"{key}={value}")]
    command = ["dvc", "exp", "run", "--temp", "-n", name, *words, stage]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        # a session of its own: Ctrl-C reaches all of its processes once, from here
        with subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True) as dvc:
            try:
                dvc.wait()
            except (KeyboardInterrupt, Terminated):
                os.killpg(dvc.pid, signal.SIGINT)
                dvc.wait()
                raise
        log.seek(0)
        lines = log.read().strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")] or lines[-3:]
    return "\n  ".join(errors) if dvc.returncode else ""


def score(name: str, path: str, metric: str) -> float | None:
    """A metric of an experiment of HEAD; None if there is no such experiment, or it has none."""
    head = (git("rev-parse", "HEAD") or "").strip()
    text = git("show", f"refs/exps/{head[:2]}/{head[2:]}/{name}:./{path}")
    found = re.search(rf'"{metric}": ([-+.\de]+)', text or "")
    return float(found[1]) if found else None


def git(*arguments: str) -> str | None:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return None if done.returncode else done.stdout


if __name__ == "__main__":
    run(main)
