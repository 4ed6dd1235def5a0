"""`python -m benchmarks`: epochs beside the notebook's loop, the whole pipeline, DVC's own cost, what a stage
costs beside its work, memory.

What is timed are the pipeline's own processes, by its own commands. Rounds are interleaved, since a shared
machine's speed drifts, and the best of each is compared. It needs MNIST in data/raw (`make repro` brings it).
`--limits` leaves out what limits.py has no limit for.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import door, limits
from pipeline.audit import change
from pipeline.console import UserError, run
from pipeline.lockfile import LOCK, entries
from pipeline.params import load
from pipeline.quick import shrink
from stages.schema import Params

ROUNDS = 5
EPOCHS = 3  # of a process; the first, with its start-up, does not count
TOY = """stages:
  one: {cmd: echo 1 > one.txt, outs: [one.txt]}
  two: {cmd: cp one.txt two.txt, deps: [one.txt], outs: [two.txt]}
"""


def main() -> None:
    peer = epochs()
    nothing_to_do()
    with door.clone() as place:
        totals(place, peer)
    with door.clone() as place:
        start_up(place)
    if not limits.ASKED:
        subprocess.run([sys.executable, "-m", "benchmarks.likelihood"], check=True)
    limits.end()


def epochs() -> float:
    """Times epochs of each variant in turn with the peer's; returns the peer's best, test pass included."""
    (vae,) = load(Params, "vae")
    peer: list[list[float]] = []
    own: dict[str, list[float]] = {name: [] for name in vae}
    with door.clone() as few:
        change(few / "params.yaml", *(f"vae.{name}.epochs={EPOCHS}" for name in vae))
        for number in range(1, (2 if limits.ASKED else ROUNDS) + 1):
            peer += peer_epochs()
            for name, times in own.items():
                times += door.seconds(f"train_vae {name}", few)[1][1:]
            line = "  ".join(f"{name} {min(times):.2f} s" for name, times in own.items())
            print(
                f"round {number}  notebook's loop {min(whole for whole, *_ in peer):.2f} s  {line}",
                flush=True,
            )
    best = min(whole for whole, *_ in peer)
    print(f"\n{'an epoch with its test pass':<34} {'best':>7}  notebook's loop / this")
    print(f"{'the notebook own loop':<34} {best:>5.2f} s")
    for name, times in own.items():
        print(f"{name:<34} {min(times):>5.2f} s  {best / min(times):.2f}")
        limits.limit("an epoch / the notebook's own", min(times) / best, name)
    print(f"(of the notebook's loop, training alone: {min(training for _, training, _ in peer):.2f} s)\n")
    return best


def peer_epochs() -> list[list[float]]:
    """Of the notebook's loop, as its users run it: seconds, those of training, the test ELBO; by epoch."""
    # not by -m: this package makes a stage's settings
    start = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    loop = Path(__file__).with_name("notebook_loop.py")
    command = [sys.executable, "-c", start, str(loop), str(door.RAW), str(EPOCHS)]
    done = subprocess.run(command, env=door.user_environment(), check=True, capture_output=True, text=True)
    return [[float(number) for number in line.split()] for line in done.stdout.splitlines()[1:]]


def start_up(place: Path) -> None:
    """What a stage costs beside its work: those of the smallest pipeline, whose work is next to nothing."""
    shrink(place / "params.yaml", smallest=True)
    (place / LOCK).unlink()  # it names the members that are left out
    command = ["dvc", "repro", "--force", "--no-run-cache", "--quiet"]
    environment = door.user_environment(MLFLOW_TRACKING_URI=f"sqlite:///{place / 'mlflow.db'}")
    before = os.times()
    subprocess.run(command, cwd=place, env=environment, check=True, stderr=subprocess.DEVNULL)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"\n{'the smallest pipeline':<34} {used:>5.0f} s of the processors, without tracking's process")
    found: dict[bool, list[float]] = {True: [], False: []}
    for name, entry in entries(place / LOCK).items():
        stage = entry["cmd"].removeprefix("python -m stages.")
        whole = min(door.seconds(stage, place)[0] for _ in range(2))
        found[name.startswith("train_")].append(whole)
        print(f"  {stage:<32} {whole:>5.2f} s")
    for trains, words in ((True, "a training stage, tracked"), (False, "another stage")):
        print(f"{words + ', median':<34} {statistics.median(found[trains]):>5.2f} s")
    print()


def nothing_to_do() -> None:
    """`dvc repro` where nothing changed, in turn with a pipeline of two stages."""
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
    limits.limit("`dvc repro` with nothing to do / a two-stage pipeline's", ratio)


def totals(clone: Path, peer: float) -> None:
    """Forced runs of everything in a clone, portable or not, and each stage's largest memory."""
    environment = door.user_environment(MNIST_MIRROR=str(door.RAW.resolve().parent))
    command = ["dvc", "repro", "--force", "--no-run-cache", "--quiet"]
    wholes = []
    for portable in ("true",) if limits.ASKED else ("true", "false"):
        change(clone / "params.yaml", f"compute.portable={portable}")
        started = time.perf_counter()
        subprocess.run(command, cwd=clone, env=environment, check=True, stderr=subprocess.DEVNULL)
        wholes.append(time.perf_counter() - started)
    ratio = wholes[0] / 20 / peer
    print(f"{'clean, forced `dvc repro`':<34} {wholes[0]:>5.0f} s  this / 20 epochs of the peer {ratio:.2f}")
    limits.limit("the whole pipeline / 20 of the notebook's epochs", ratio)
    if limits.ASKED:
        return
    other = wholes[0] / wholes[1]
    print(f"{'… with portable: false':<34} {wholes[1]:>5.0f} s  portable / this {other:.2f}")
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
        [sys.executable, "-m", *f"stages.{stage}".split()],
        cwd=clone, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise UserError(f"{stage} failed")
    return usage.ru_maxrss / (1000 if sys.platform == "linux" else 1_000_000)


def seconds(command: list[str], folder: str) -> float:
    started = time.perf_counter()
    # the project has DVC's analytics off, which the toy would wait for
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    run(main)
