"""`python -m benchmarks`: epochs compared with the notebook's loop, the whole pipeline, the overhead of DVC
and of a stage, memory.

It times the real processes of the pipeline. Rounds are interleaved, since the speed of a shared machine
varies, and the best times are compared. It needs MNIST in data/raw (run `make repro` first). `--limits` runs
only the benchmarks that have a limit in limits.py.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import limits, stage_runs
from stages.schema import Params
from workflow.core.errors import UserError
from workflow.core.params import load, set_params
from workflow.reproduce.quick import shrink
from workflow.runs.console import run
from workflow.runs.lockfile import LOCK, entries

ROUNDS = 5
EPOCHS = 3  # of a process; the first includes start-up and does not count
TOY = """stages:
  one: {cmd: echo 1 > one.txt, outs: [one.txt]}
  two: {cmd: cp one.txt two.txt, deps: [one.txt], outs: [two.txt]}
"""


def main() -> None:
    notebook = epochs()
    unchanged_repro()
    with stage_runs.clone() as folder:
        whole_pipeline(folder, notebook)
    with stage_runs.clone() as folder:
        stage_overhead(folder)
    if not limits.ENFORCED:
        subprocess.run([sys.executable, "-m", "benchmarks.likelihood"], check=True)
    limits.report()


def epochs() -> float:
    """Times epochs of each variant in turn with the notebook's; returns the notebook's best epoch."""
    (vae,) = load(Params, "vae")
    notebook: list[list[float]] = []
    ours: dict[str, list[float]] = {name: [] for name in vae}
    with stage_runs.clone() as clone:
        set_params(clone / "params.yaml", *(f"vae.{name}.epochs={EPOCHS}" for name in vae))
        for number in range(1, (2 if limits.ENFORCED else ROUNDS) + 1):
            notebook += notebook_epochs()
            for name, times in ours.items():
                times += stage_runs.seconds(f"train_vae {name}", clone)[1][1:]
            line = "  ".join(f"{name} {min(times):.2f} s" for name, times in ours.items())
            print(
                f"round {number}  notebook's loop {min(total for total, *_ in notebook):.2f} s  {line}",
                flush=True,
            )
    best = min(total for total, *_ in notebook)
    print(f"\n{'an epoch with its test pass':<34} {'best':>7}  notebook's loop / this")
    print(f"{'the notebook own loop':<34} {best:>5.2f} s")
    for name, times in ours.items():
        print(f"{name:<34} {min(times):>5.2f} s  {best / min(times):.2f}")
        limits.check("an epoch / the notebook's own", min(times) / best, name)
    print(f"(of the notebook's loop, training alone: {min(training for _, training, _ in notebook):.2f} s)\n")
    return best


def notebook_epochs() -> list[list[float]]:
    """Runs the notebook's loop as its users do. By epoch: seconds, seconds of training, test ELBO."""
    # not with -m, since this package applies the settings of a stage
    start = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    loop = Path(__file__).with_name("notebook_loop.py")
    command = [sys.executable, "-c", start, str(loop), str(stage_runs.RAW), str(EPOCHS)]
    done = subprocess.run(
        command, env=stage_runs.user_environment(), check=True, capture_output=True, text=True
    )
    return [[float(number) for number in line.split()] for line in done.stdout.splitlines()[1:]]


def stage_overhead(folder: Path) -> None:
    """The overhead of a stage: times the stages of the smallest pipeline, which do very little work."""
    shrink(folder / "params.yaml", smallest=True)
    (folder / LOCK).unlink()  # it has members that the smallest pipeline does not have
    command = ["dvc", "repro", "--force", "--no-run-cache", "--quiet"]
    environment = stage_runs.user_environment(MLFLOW_TRACKING_URI=f"sqlite:///{folder / 'mlflow.db'}")
    before = os.times()
    subprocess.run(command, cwd=folder, env=environment, check=True, stderr=subprocess.DEVNULL)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"\n{'the smallest pipeline':<34} {used:>5.0f} s of the processors, without tracking's process")
    found: dict[bool, list[float]] = {True: [], False: []}
    for name, entry in entries(folder / LOCK).items():
        stage = entry["cmd"].removeprefix("python -m workflow ")
        total = min(stage_runs.seconds(stage, folder)[0] for _ in range(2))
        found[name.startswith("train_")].append(total)
        print(f"  {stage:<32} {total:>5.2f} s")
    for trains, label in ((True, "a training stage, tracked"), (False, "another stage")):
        print(f"{label + ', median':<34} {statistics.median(found[trains]):>5.2f} s")
    print()


def unchanged_repro() -> None:
    """`dvc repro` with nothing to do, in turn with a pipeline of two stages."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "dvc.yaml").write_text(TOY)
        for command in (["git", "init", "-q"], ["dvc", "init", "-q"], ["dvc", "repro", "-q"]):
            subprocess.run(command, cwd=folder, check=True)
        here, toy = [], []
        for _ in range(ROUNDS):
            here.append(seconds(["dvc", "repro"], "."))
            toy.append(seconds(["dvc", "repro"], folder))
    print(f"{'`dvc repro` with nothing to do':<34} {min(here):>5.2f} s")
    ratio = min(here) / min(toy)
    print(f"{'the same of a two-stage pipeline':<34} {min(toy):>5.2f} s  this / toy {ratio:.2f}\n")
    limits.check("`dvc repro` with nothing to do / a two-stage pipeline's", ratio)


def whole_pipeline(clone: Path, notebook: float) -> None:
    """Forced runs of the pipeline in a clone, portable or not, and the peak memory of stages."""
    environment = stage_runs.user_environment(MNIST_MIRROR=str(stage_runs.RAW.resolve().parent))
    command = ["dvc", "repro", "--force", "--no-run-cache", "--quiet"]
    times = []
    for portable in ("true",) if limits.ENFORCED else ("true", "false"):
        set_params(clone / "params.yaml", f"compute.portable={portable}")
        started_at = time.perf_counter()
        subprocess.run(command, cwd=clone, env=environment, check=True, stderr=subprocess.DEVNULL)
        times.append(time.perf_counter() - started_at)
    ratio = times[0] / 20 / notebook
    print(
        f"{'clean, forced `dvc repro`':<34} {times[0]:>5.0f} s  this / 20 epochs of the notebook {ratio:.2f}"
    )
    limits.check("the whole pipeline / 20 of the notebook's epochs", ratio)
    if limits.ENFORCED:
        return
    other = times[0] / times[1]
    print(f"{'… with portable: false':<34} {times[1]:>5.0f} s  portable / this {other:.2f}")
    print("\nlargest resident memory of a stage")
    for stage in (
        "train_vae tuned",
        "evaluate_elbo tuned",
        "evaluate_likelihood tuned",
        "critique tuned",
        "analyse_latents tuned",
        "render_vae tuned",
        "train_classifier images",
    ):
        print(f"{stage:<34} {memory(stage, clone, environment):>5.0f} MB")


def memory(stage: str, clone: Path, environment: dict[str, str]) -> float:
    """The peak of one stage run by itself, in MB."""
    process = subprocess.Popen(
        [sys.executable, "-m", "workflow", *stage.split()],
        cwd=clone, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise UserError(f"{stage} failed")
    return usage.ru_maxrss / (1000 if sys.platform == "linux" else 1_000_000)


def seconds(command: list[str], folder: str) -> float:
    started_at = time.perf_counter()
    # otherwise the toy waits for DVC's analytics, which the project turns off
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return time.perf_counter() - started_at


if __name__ == "__main__":
    run(main)
