"""The whole pipeline on this processor and on emulated ones: with `compute.portable`, the same bytes.

Each stage runs under qemu's user mode, on a processor with other instructions and caches; DVC itself runs on
the real one.
"""

from __future__ import annotations

import os
import platform
import shutil
import stat
import sys
from pathlib import Path

import pytest

from tests.conftest import NO_TRACKING, Project, copy_smallest
from tests.support.repository import ROOT
from workflow.reproduce.audit import compare
from workflow.runs.lockfile import entries

QEMU = shutil.which("qemu-x86_64") or shutil.which("qemu-x86_64-static")
MODELS = ("Haswell", "EPYC-Rome", "max")
RENDER_MODEL = "max"  # only this one draws figures, which take long
REQUIRED = "REQUIRE_TOOLS" in os.environ

pytestmark = [
    pytest.mark.processors,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="portable bytes are those of x86-64"),
    pytest.mark.skipif(not QEMU and not REQUIRED, reason="needs qemu-user (Debian's package)"),
]


def emulated(model: str, folder: Path) -> str:
    """A PATH on which `python` is this Python on a processor of another model."""
    assert QEMU, "qemu-x86_64 is missing: apt-get install qemu-user"
    folder.mkdir()
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nexec {QEMU} -cpu {model} {sys.executable} "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return f"{folder}:{os.environ['PATH']}"


def narrow(to: Path) -> Project:
    """The smallest pipeline with narrower networks: the emulator computes each sum in software."""
    project = copy_smallest(to)
    project.edit(r"hidden: \[512, 256\]", "hidden: [128, 64]", count=0)
    return project


def reproduce(project: Project, *targets: str, path: str = os.environ["PATH"]) -> None:
    project.run(
        "dvc", "repro", "--force", "--no-run-cache", *targets, MLFLOW_TRACKING_URI=NO_TRACKING, PATH=path
    )


# two training steps of VAEs; prints a digest of each one's weights
STEPS = """
import hashlib
from workflow.core import processor
processor.apply()
import torch
from elbo.determinism import prepare, stream
from elbo.models.vae import VAE, Design
from elbo.negative_elbo import NegativeElbo, TrainingImages
from elbo.optimization import Optimizer
from stages.schema import Params
from workflow.core.params import load

compute, tuned = load(Params, "compute", "vae.tuned")
prepare(compute.threads)
images = (torch.rand(128, 784, generator=stream(0, "images")) < 0.2).float()
conv = {"kind": "conv", "channels": [8, 16], "hidden": [32]}
mlp = {"kind": "mlp", "hidden": [64, 32, 32], "residual": True}
for architecture, posterior in ((conv, "diagonal"), (mlp, "full"), (mlp, "flow")):
    model = VAE((28, 28), Design(5, architecture, "gelu", posterior), stream(0, "init"))
    optimizer = Optimizer(model, tuned, len(images))
    loss = NegativeElbo(model, TrainingImages(images), {}, 0, 0.1).epoch(1)
    for seen in (0, 64):
        optimizer.step(loss(torch.arange(seen, seen + 64), seen)[0])
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(tensor.numpy().tobytes())
    print("trained", architecture["kind"], posterior, digest.hexdigest(), flush=True)
"""


@pytest.mark.parametrize("model", MODELS)
def test_other_models_train_to_the_same_bits_on_another_processor(tmp_path: Path, model: str) -> None:
    printed = []
    for path in (os.environ["PATH"], emulated(model, tmp_path / "bin")):
        lines = Project(ROOT).run("python", "-c", STEPS, PATH=path).splitlines()
        printed.append([line for line in lines if line.startswith("trained ")])
    assert len(printed[0]) == 3
    assert printed[0] == printed[1]


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = narrow(tmp_path_factory.mktemp("native") / "project")
    reproduce(project)
    return project


@pytest.mark.parametrize("model", MODELS)
def test_every_stage_gives_the_same_bytes_on_another_processor(
    native: Project, tmp_path: Path, model: str
) -> None:
    project = narrow(tmp_path / "project")
    expected = entries(native.path / "dvc.lock")
    chosen = [name for name in expected if model == RENDER_MODEL or not name.startswith("render_")]
    reproduce(project, *chosen, path=emulated(model, tmp_path / "bin"))
    verdicts = [verdict for verdict in compare(native.path, project.path) if verdict.stage in chosen]
    assert [verdict for verdict in verdicts if verdict.difference] == []
    assert entries(project.path / "dvc.lock") == {name: expected[name] for name in chosen}


def test_two_threads_give_the_same_bytes_on_another_processor(tmp_path: Path) -> None:
    """The emulated processor has other cache sizes, which may change how threads share the work."""
    made = []
    for name, path in (("native", os.environ["PATH"]), ("emulated", emulated("Haswell", tmp_path / "bin"))):
        project = narrow(tmp_path / name)
        project.edit("threads: 1", "threads: 2")
        reproduce(project, "evaluate_elbo@notebook", path=path)
        made.append((project.path / "dvc.lock").read_bytes())
    assert made[0] == made[1]
