"""`python -m benchmarks`: epochs beside the notebook's loop, the whole pipeline, DVC's own cost,
likelihoods, memory.

Rounds are interleaved, since a shared machine's speed drifts, and the best of each is compared. It needs
MNIST in data/raw (`make repro` brings it). The totals take a temporary clone and about five minutes;
`--quick` leaves them out; `--limits` leaves out what limits.py has no limit for.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks import likelihood, limits
from benchmarks.notebook_loop import NotebookLoop
from elbo import training
from elbo.determinism import prepare, stream
from elbo.vae import VAE
from pipeline import dataset
from pipeline.audit import change
from pipeline.console import UserError, run
from pipeline.params import load
from stages.schema import Params

RAW = Path("data/raw/mnist")
ROUNDS = 5
TOY = """stages:
  one: {cmd: echo 1 > one.txt, outs: [one.txt]}
  two: {cmd: cp one.txt two.txt, deps: [one.txt], outs: [two.txt]}
"""


def main() -> None:
    if not RAW.is_dir():
        raise UserError("the peer is the notebook's loop on MNIST, and data/raw has none: `make repro` first")
    peer = epochs()
    nothing_to_do()
    likelihood.main()
    if "--quick" not in sys.argv:
        totals(peer)
    limits.end()


def epochs() -> float:
    """Times epochs of each variant in turn with the peer's; returns the peer's best, test pass included."""
    compute, vae = load(Params, "compute", "vae")
    prepare(compute.threads)
    data = dataset.load("data/binarized.npz")
    train, test = data.inputs("train"), {"test": data.inputs("test")}
    peer = NotebookLoop(RAW)
    peer_whole, peer_training = [], []
    own: dict[str, list[float]] = {name: [] for name in vae}
    runs = {name: endless(train, test, settings) for name, settings in vae.items()}
    for number in range(1, ROUNDS + 1):
        whole, trained, score = peer.epoch()
        peer_whole.append(whole)
        peer_training.append(trained)
        for name, iterator in runs.items():
            started = time.perf_counter()
            next(iterator)
            own[name].append(time.perf_counter() - started)
        line = "  ".join(f"{name} {times[-1]:.2f} s" for name, times in own.items())
        print(f"round {number}/{ROUNDS}  notebook's loop {whole:.2f} s (test ELBO {score:.1f})  {line}")
    print(f"\n{'an epoch with its test pass':<34} {'best':>7}  notebook's loop / this")
    print(f"{'the notebook own loop':<34} {min(peer_whole):>5.2f} s")
    for name, times in own.items():
        print(f"{name:<34} {min(times):>5.2f} s  {min(peer_whole) / min(times):.2f}")
        limits.limit("an epoch / the notebook's own", min(times) / min(peer_whole), name)
    print(f"(of the notebook's loop, training alone: {min(peer_training):.2f} s)\n")
    return min(peer_whole)


def endless(
    train: torch.Tensor, test: dict[str, torch.Tensor], settings: training.VaeSettings
) -> Iterator[training.Epoch]:
    generator = stream(settings.seed, "init")
    model = VAE(train.shape[1], settings.hidden, settings.activation, generator)  # type: ignore[attr-defined]
    return training.epochs(model, train, test, settings)


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


def totals(peer: float) -> None:
    """Forced runs of everything in a clone, portable or not, and each stage's largest memory."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "clone")
        subprocess.run(["git", "clone", "-q", ".", str(clone)], check=True)
        environment = os.environ | {"MNIST_MIRROR": str(RAW.resolve().parent)}
        command = ["dvc", "repro", "--force", "--no-run-cache", "--quiet"]
        wholes = []
        for portable in ("true",) if limits.ASKED else ("true", "false"):
            change(clone / "params.yaml", f"compute.portable={portable}")
            started = time.perf_counter()
            subprocess.run(command, cwd=clone, env=environment, check=True, stderr=subprocess.DEVNULL)
            wholes.append(time.perf_counter() - started)
        ratio = wholes[0] / 20 / peer
        print(
            f"{'clean, forced `dvc repro`':<34} {wholes[0]:>5.0f} s  this / 20 epochs of the peer {ratio:.2f}"
        )
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
