"""The whole pipeline with the real `dvc`, on scikit-learn's digits, for a few epochs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.conftest import Project

VARIANTS = ("notebook", "tuned")
AFTER_TRAINING = ("evaluate_elbo", "evaluate_likelihood", "critique", "analyse_latents", "render_vae")
AFTER_ALL = ("evaluate_differences", "render_comparison", "render_report")


def test_a_second_repro_runs_nothing(reproduced: Project) -> None:
    assert reproduced.repro() == []
    assert reproduced.run("dvc", "status").strip() == "Data and pipelines are up to date."


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            r"(\n  ill_conditioned:[\s\S]*?)    lr: 0.8",
            r"\1    lr: 0.7",
            {"check_params", "render_report"}
            | {f"{kind}_quadratic@ill_conditioned" for kind in ("optimize", "render")},
        ),
        pytest.param(
            r"(tuned:[\s\S]*?)lr: 0.002",
            r"\1lr: 0.001",
            {"check_params", "train_vae@tuned", *AFTER_ALL} | {f"{kind}@tuned" for kind in AFTER_TRAINING},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_changed_parameter_reruns_only_what_depends_on_it(
    project: Project, old: str, new: str, expected: set[str]
) -> None:
    project.edit(old, new)
    assert set(project.repro()) == expected
    assert project.repro() == []


@pytest.mark.slow
def test_a_changed_plot_reruns_only_figures_and_report(project: Project) -> None:
    project.edit("posterior means by class", "latent means by class", file="plots/vae.py")
    figures = {"render_comparison", "render_vae@notebook", "render_vae@tuned"}
    assert set(project.repro()) == figures | {"render_report"}


def test_outputs_follow_the_file_contract(reproduced: Project) -> None:
    root = reproduced.path
    for variant in VARIANTS:
        training = pd.read_csv(root / f"reports/vae/{variant}/training.csv")
        assert list(training["epoch"]) == [1, 2]
        assert {"train_elbo", "test_elbo", "test_reconstruction", "test_kl"} <= set(training)
        metrics = json.loads((root / f"reports/vae/{variant}/elbo.json").read_text())
        model = json.loads((root / f"reports/vae/{variant}/model.json").read_text())
        assert metrics["dataset"] == model["dataset"] == "uci-digits"
        assert len(metrics["dataset_digest"]) == 32
        for split, images in (("train", 1437), ("test", 360)):
            found = metrics[split]
            assert found["images"] == images
            assert found["elbo"] == pytest.approx(found["reconstruction"] - found["kl"], abs=2e-6)
            assert found["kl"] == pytest.approx(sum(found["kl_by_dimension"]), abs=2e-6)
            assert found["elbo"] <= found["iwae_1"] + 0.5
            assert found["iwae_1"] <= found["iwae_10"] < 0
            assert found["elbo_se"] > 0
            assert model[split]["rate"] == found["kl"]
            assert model[split]["distortion"] == -found["reconstruction"]
            assert model[split]["kl_by_dimension"] == found["kl_by_dimension"]
            exact = json.loads((root / f"reports/vae/{variant}/likelihood.json").read_text())[split]
            assert found["iwae_1"] <= found["iwae_10"] <= exact["log_likelihood"]
            gap = exact["log_likelihood"] - found["elbo"]
            assert exact["inference_gap"] == pytest.approx(gap, abs=2e-6)
            assert exact["gaps"]["images"] == 40
            parts = exact["gaps"]["approximation"] + exact["gaps"]["amortization"]
            assert exact["gaps"]["inference"] == pytest.approx(parts, abs=2e-6)
            assert exact["gaps"]["approximation"] > -1e-4
            assert abs(exact["quadrature_error"]) < 0.05
            assert exact["log_likelihood_se"] > 0
        classes = pd.read_csv(root / f"reports/vae/{variant}/elbo_by_class.csv")
        tests = classes[classes["split"] == "test"]
        mean = np.average(tests["elbo"], weights=tests["images"])
        assert mean == pytest.approx(metrics["test"]["elbo"], abs=1e-5)
        weights = load_file(root / f"models/vae/{variant}.safetensors")
        assert model["parameters"] == sum(tensor.numel() for tensor in weights.values())
        assert model["latent"] == len(model["variance_of_means"]) == 2
        assert model["active_units"] == sum(value > 0.01 for value in model["variance_of_means"])
        matrices = [
            list(tensor.shape) for name, tensor in sorted(weights.items())
            if name.startswith("encoder.") and name.endswith("weight")
        ]  # fmt: skip
        assert matrices == [[512, 784], [256, 512], [2, 256], [2, 256]]
    for problem in ("well_conditioned", "ill_conditioned", "high_dimensional"):
        metrics = json.loads((root / f"reports/quadratic/{problem}/metrics.json").read_text())
        assert metrics["log10_deviation"] < -9, "the run follows the closed form"
        assert len(metrics["contraction"]) == len(metrics["sign_changes"])
        trajectory = pd.read_csv(root / f"reports/quadratic/{problem}/trajectory.csv")
        assert len(trajectory) == metrics["steps"] + 1
        comparison = pd.read_csv(root / f"reports/quadratic/{problem}/comparison.csv")
        assert {"optimizer", "lr", "sign_changes", "steps_to_target", "log10_final_loss"} <= set(comparison)
    for name in ("annuli", "images"):
        metrics = json.loads((root / f"reports/classifier/{name}/metrics.json").read_text())
        assert metrics["dataset"] == ("annuli" if name == "annuli" else "uci-digits")
        assert 0 <= metrics["accuracy"] <= 1
        assert metrics["nll"] > 0
        assert (root / f"reports/classifier/{name}/training.csv").is_file()
        assert (root / f"models/classifier/{name}.safetensors").is_file()


def test_the_test_elbo_can_be_computed_from_the_files_alone(reproduced: Project) -> None:
    """Uses torch.distributions, the weights and the data, but none of the project's code."""
    root = reproduced.path
    with np.load(root / "data/binarized.npz") as file:
        bits = np.unpackbits(file["features_test"], axis=1)[:, :784]
    x = torch.from_numpy(bits).float()
    w = load_file(root / "models/vae/notebook.safetensors")

    def layer(name: str, h: torch.Tensor) -> torch.Tensor:
        return h @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    h = layer("encoder.fc2", layer("encoder.fc1", x).relu()).relu()
    q = torch.distributions.Normal(layer("encoder.fc_loc", h), layer("encoder.fc_log_scale", h).exp())
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1)
    torch.manual_seed(0)
    terms = []
    for _ in range(20):
        logits = layer("decoder.fc_out", layer("decoder.fc2", layer("decoder.fc1", q.sample()).relu()).relu())
        terms.append(torch.distributions.Bernoulli(logits=logits).log_prob(x).sum(1))
    expected = (torch.stack(terms).mean(0) - kl).mean().item()
    metrics = json.loads((root / "reports/vae/notebook/elbo.json").read_text())
    assert metrics["test"]["kl"] == pytest.approx(kl.mean().item(), abs=1e-3)
    assert metrics["test"]["elbo"] == pytest.approx(expected, abs=0.5)


def test_all_figures_exist_and_are_readable_and_small(reproduced: Project) -> None:
    figures = sorted((reproduced.path / "reports").rglob("*.png"))
    names = {path.relative_to(reproduced.path / "reports").with_suffix("").as_posix() for path in figures}
    comparison = (
        "bounds critique elbo families gains gap_distribution gaps likelihood neighbours posteriors "
        "reconstructions regions"
    )
    expected = {f"figures/comparison/{what}" for what in comparison.split()}
    expected |= {f"figures/vae/{name}/{what}" for name in VARIANTS for what in ("lines", "plane", "samples")}
    problems = ("well_conditioned", "ill_conditioned", "high_dimensional")
    expected |= {f"figures/quadratic/{problem}/optimizers" for problem in problems}
    classifiers = ("annuli/curves", "annuli/probability", "images/confusion")
    assert names == expected | {f"figures/classifier/{what}" for what in classifiers}
    for path in figures:
        with Image.open(path) as image:
            assert min(image.size) >= 300, path
            assert "Software" not in image.info
            assert len(image.convert("L").getcolors(256) or []) > 2, path
    assert sum(path.stat().st_size for path in figures) < 700_000


def test_dvcs_own_views_show_metrics_plots_and_the_graph(reproduced: Project) -> None:
    metrics = json.loads(reproduced.run("dvc", "metrics", "show", "--json"))
    files = metrics[""]["data"]
    elbo = json.loads((reproduced.path / "reports/vae/tuned/elbo.json").read_text())
    assert files["reports/metrics/vae/tuned/elbo.json"]["data"]["tuned"] == {"elbo": elbo["test"]["elbo"]}
    assert "train_vae@tuned" in reproduced.run("dvc", "dag")
    printed = reproduced.run("dvc", "plots", "show", "-o", "plots_html")
    assert "warning" not in printed.lower()
    page = (reproduced.path / "plots_html/index.html").read_text()
    for title in ("ELBO by epoch: tuned", "Predictions by actual class, in percent: images"):
        assert title in page
    assert "https://cdn" not in page
    shutil.rmtree(reproduced.path / "plots_html")


@pytest.mark.slow
def test_a_new_variant_in_params_becomes_stages(project: Project) -> None:
    text = (project.path / "params.yaml").read_text()
    notebook = text[text.index("  notebook:") : text.index("  tuned:")]
    mine = notebook.replace("notebook:", "mine:").replace("epochs: 2", "epochs: 1")
    project.edit("  tuned:", mine.replace("\\", "") + "  tuned:")
    expected = {f"{kind}@mine" for kind in ("train_vae", *AFTER_TRAINING)}
    assert set(project.repro()) == {"check_params", *AFTER_ALL} | expected
    assert (project.path / "reports/vae/mine/elbo.json").is_file()
    assert "*mine*" in (project.path / "reports/README.md").read_text()


@pytest.mark.slow
def test_a_held_out_split_is_scored_beside_the_test_set(tree: Project) -> None:
    tree.edit("validation: 0", "validation: 200")
    tree.repro("evaluate_elbo@tuned")
    metrics = json.loads((tree.path / "reports/vae/tuned/elbo.json").read_text())
    assert metrics["train"]["images"] == 1237
    assert metrics["validation"]["images"] == 200
    training = pd.read_csv(tree.path / "reports/vae/tuned/training.csv")
    assert "validation_elbo" in training


@pytest.mark.slow
def test_a_stand_in_is_named_in_metrics_figures_and_summary(project: Project) -> None:
    """Runs the classifiers and one variant's ELBO; other tests cover the report's text."""
    project.edit("dataset: uci-digits", "dataset: mnist")
    figure = project.path / "reports/figures/classifier/images/confusion.png"
    before = figure.read_bytes()
    project.repro("render_classifiers", "evaluate_elbo@tuned")
    for path in ("classifier/images/metrics.json", "vae/tuned/elbo.json"):
        about = json.loads((project.path / "reports" / path).read_text())
        assert (about["dataset"], about["fallback_for"]) == ("uci-digits", "mnist")
    annuli = json.loads((project.path / "reports/classifier/annuli/metrics.json").read_text())
    assert "fallback_for" not in annuli
    assert figure.read_bytes() != before
    printed = project.run("python", "-m", "pages.summary")
    assert "NOT the numbers of MNIST" in printed
    assert not Path(project.path / "data/raw/mnist").exists()
