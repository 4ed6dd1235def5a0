"""Summary, DVC's tables and plots, comparison of experiments; removed members are left out."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo

from pages import summary
from tests.conftest import Project, commit, copy_working_tree
from tests.support.pages import chromium
from tests.support.repository import ROOT
from workflow.core.files import read_yaml
from workflow.doctor import machine
from workflow.runs.worktree import left_over, undeclared_files

TITLES = (
    "ELBO by epoch",
    "Bounds of test images",
    "Inference gap of test images by class",
    "Last loss by optimizer",
    "Predictions by actual class, in percent: images",
)
TEMPLATES = {path.stem for path in (ROOT / ".dvc/plots").glob("*.json")}


@pytest.fixture
def without_tuned(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose params.yaml no longer has a variant that was trained and committed."""
    project.edit(r"(?ms)^  tuned:.*?(?=^evaluate_elbo:)", "\n")
    monkeypatch.chdir(project.path)
    return project


def test_the_summary_leaves_out_a_removed_variant(without_tuned: Project) -> None:
    printed = without_tuned.run("python", "-m", "pages.summary")
    assert "notebook " in printed
    assert "tuned" not in printed
    assert "tuned" not in "\n".join(summary.markdown())


def test_check_and_doctor_give_the_command_that_removes_a_removed_variants_files(
    without_tuned: Project,
) -> None:
    printed = without_tuned.run("python", "-m", "workflow.reproduce.check", status=1)
    command = re.search(r"Remove them: (rm -r .*)", printed)
    assert command
    for path in (
        "reports/vae/tuned", "reports/metrics/vae/tuned", "models/vae/tuned.safetensors",
        "data/elbo/tuned.npz", "data/likelihood/tuned.npz", "reports/figures/vae/tuned",
    ):  # fmt: skip
        assert path in command[1].split()
    assert not re.search(r"notebook|data/raw|data/README", command[1])
    (finding,) = machine.undeclared()
    assert finding.remedy == f"`{command[1]}`"
    without_tuned.run("sh", "-c", command[1])
    assert undeclared_files() == []
    assert list(machine.undeclared()) == []
    assert (without_tuned.path / "models/vae/notebook.safetensors").is_file()


def test_dvc_plots_leave_out_a_removed_variant(without_tuned: Project) -> None:
    printed = without_tuned.run("dvc", "plots", "show", "--json")
    plots = json.loads(printed[printed.index("{") :])
    assert not [name for name in plots["data"] if "tuned" in name]


def test_a_users_own_files_are_not_left_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = {"models/vae/a.safetensors", "data/raw", "data/elbo/a.npz", "reports/vae/a/elbo.json"}
    own = [
        "data/mine.csv",
        "data/mine/deep.csv",
        "models/downloaded.pt",
        "data/elbo/.gitignore",
        "data/raw/x",
        "reports/vae/a/.elbo.json.4711.tmp",  # a process is writing it
    ]
    left = ["models/vae/b.safetensors", "data/elbo/b.npz", "reports/vae/b/elbo.json", "reports/vae/b/c/d.csv"]
    for name in (*made - {"data/raw"}, *own, *left):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    assert left_over(made, set()) == ["data/elbo/b.npz", "models/vae/b.safetensors", "reports/vae/b"]


def test_the_summary_has_a_dash_for_a_missing_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("reports", "data"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    training = Path("reports/vae/notebook/training.csv")
    training.write_text("\n".join(training.read_text().splitlines()[:-1]) + "\n")
    more = training.read_text().splitlines()[-1].replace("19,", "40,", 1)
    training.write_text(training.read_text() + more + "\n")
    elbo = Path("reports/vae/notebook/elbo.json")
    found = json.loads(elbo.read_text())
    found["train"]["images"] = 1234
    elbo.write_text(json.dumps(found))
    table = summary.markdown()
    assert "| … of the reference notebook | – | −137.67 |" in table
    assert any(line.startswith("| train ELBO, 100 samples, 1,234 images |") for line in table)
    assert " – " in summary.lines()[0]
    # a variant without results is listed as missing
    Path("reports/vae/tuned/likelihood.json").unlink()
    assert summary.evaluated() == (["notebook"], ["tuned"])


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the summary reads, in the working directory."""
    folder = tmp_path / "small"
    shutil.copytree(ROOT / "reports", folder / "reports")
    (folder / "data").mkdir()
    for name in ("data/notebook_elbo.csv", "params.yaml"):
        shutil.copy(ROOT / name, folder / name)
    monkeypatch.chdir(tmp_path)
    return folder


def printed_summary(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *folder: str
) -> list[str]:
    monkeypatch.setattr(sys, "argv", ["summary", *folder])
    summary.main()
    return capsys.readouterr().out.strip("\n").splitlines()


def test_a_run_ends_with_a_line_for_each_variant_and_three_more(
    reports: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(reports)
    printed = printed_summary(capsys, monkeypatch)
    assert [line.split()[0] for line in printed] == ["variant", "notebook", "tuned", "classifiers", "next"]
    assert re.search(r"notebook +MNIST( +−\d\d\d\.\d\d){3}$", printed[1])
    assert "images 98." in printed[3]
    for command in ("reports/report.html", "make ui", "make compare"):
        assert command in printed[4]
    (reports / "reports/vae/tuned/likelihood.json").unlink()
    printed = printed_summary(capsys, monkeypatch)
    assert len(printed) == 5
    assert printed[2] == "tuned        no results yet: run `dvc repro`"


@pytest.mark.usefixtures("reports")
def test_the_numbers_of_a_small_run_are_said_to_be_no_results(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = printed_summary(capsys, monkeypatch, "small")
    assert len(printed) == 5
    assert "NOT the real numbers" in printed[4]
    assert printed[4].endswith(" small/reports/report.html")


def test_the_summary_of_a_stand_in_ends_with_a_warning(
    reports: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(reports)
    path = Path("reports/vae/tuned/elbo.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fallback_for": "mnist"}))
    printed = printed_summary(capsys, monkeypatch)
    assert printed[5].startswith("WARNING: these are NOT the numbers of MNIST")


def test_every_plot_has_a_template_in_dvc_plots_and_a_safe_title() -> None:
    text = (ROOT / "dvc.yaml").read_text()
    assert set(re.findall(r"template: (\w+)", text)) == TEMPLATES
    assert not [title for title in re.findall(r"title: (.*)", text) if "'" in title]
    bounds = (ROOT / ".dvc/plots/bounds.json").read_text()
    assert all(f'"iwae_{k}"' in bounds for k in read_yaml(ROOT / "params.yaml")["evaluate_elbo"]["iwae"][1:])


@pytest.mark.slow
def test_dvcs_tables_fit_160_columns(project: Project) -> None:
    shown = [project.run("dvc", "metrics", "show")]
    project.run("dvc", "exp", "run", "-n", "narrow", "-S", "vae.tuned.lr=0.001", "evaluate_elbo@tuned")
    shown += [
        project.run("dvc", "metrics", "diff"),
        project.run("dvc", "exp", "show", "--only-changed", "--no-pager"),
    ]
    for text in shown:
        assert max(len(line) for line in text.splitlines()) <= 160, text
    assert "tuned.elbo" in shown[-1]
    printed = project.run("python", "-m", "pages.compare")
    assert re.search(r"^narrow +0\.001", printed, re.M)
    assert "tuned.elbo" in printed
    assert "seed" not in printed


@pytest.fixture
def committed(tmp_path: Path) -> Project:
    """The working tree with its committed reports; no stage has run."""
    project = copy_working_tree(tmp_path / "project")
    commit(project)
    return project


# By plot: its texts, how many marks it has that one sees, how their lines are dashed, and what does not fit.
DRAWN = """() => Object.fromEntries([...document.querySelectorAll("body > div")].map((div) => {
  const marks = [...div.querySelectorAll("svg .role-mark path")]
    .filter((mark) => { const box = mark.getBBox(); return box.width + box.height > 0; });
  const texts = [...div.querySelectorAll("svg text")].map((text) => text.textContent);
  const dashes = new Set(marks.map((mark) => mark.getAttribute("stroke-dasharray")));
  const hidden = div.scrollWidth - div.offsetWidth;
  return [div.id, { texts, marks: marks.length, dashes: [...dashes], hidden }];
}))"""


def drawn(project: Project, folder: Path, *command: str) -> list[dict[str, Any]]:
    """The plots on the page that `dvc plots` writes, in Chromium without internet and without errors."""
    printed = project.run("dvc", "plots", *command, "-o", str(folder))
    assert "warning" not in printed.lower()
    reported: list[str] = []
    with chromium() as browser:
        page = browser.new_context(offline=True, viewport={"width": 1280, "height": 900}).new_page()
        page.on("console", lambda message: reported.append(message.text))
        page.on("pageerror", lambda error: reported.append(str(error)))
        page.goto((folder / "index.html").as_uri())
        page.wait_for_timeout(3000)
        plots: dict[str, dict[str, Any]] = page.evaluate(DRAWN)
        assert page.evaluate("document.documentElement.scrollHeight") < 3000
    assert reported == []
    assert not [name for name, plot in plots.items() if plot["hidden"] > 0]
    return list(plots.values())


def test_five_plots_show_all_variants_and_need_no_internet(committed: Project, tmp_path: Path) -> None:
    committed.edit(r"(?ms)^  tuned:(.*?)(?=^evaluate_elbo:)", r"  tuned:\1  mine:\1")
    shutil.copytree(committed.path / "reports/vae/tuned", committed.path / "reports/vae/mine")
    plots = drawn(committed, tmp_path / "page", "show")
    with Repo(str(committed.path)) as repo:
        outs = [out.plot for out in repo.index.plots if out.plot["template"] != "table"]
    titles = [next(text for text in plot["texts"] if text in TITLES) for plot in plots]
    assert sorted(titles) == sorted(TITLES)
    assert {plot["title"] for plot in outs} >= {f"{title}: mine" for title in TITLES[:3]}
    for title, plot in zip(titles, plots, strict=True):
        members = {out["title"].partition(": ")[2] for out in outs if out["title"].startswith(f"{title}: ")}
        assert members <= set(plot["texts"]), title
        assert plot["marks"] >= 2 * len(members), f"{title}: nothing is drawn"


def test_plots_of_two_revisions_tell_them_apart(committed: Project, tmp_path: Path) -> None:
    for name in ("training", "elbo_by_class", "likelihood_by_class"):
        path = committed.path / f"reports/vae/tuned/{name}.csv"
        path.write_text(re.sub(r"-1(\d\d\.\d+)", r"-2\1", path.read_text()))
    for plot in drawn(committed, tmp_path / "page", "diff", "HEAD"):
        assert {"HEAD", "workspace"} <= set(plot["texts"])
        if {"ELBO by epoch", "Bounds of test images"} & set(plot["texts"]):
            assert len(set(plot["dashes"]) - {None}) == 2
