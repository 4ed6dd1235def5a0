"""Stage optimize_quadratic@NAME: gradient descent on a quadratic beside its closed form and its remedies."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
from torch import Tensor

from elbo import quadratic
from elbo.determinism import prepare
from pipeline.console import argument, run, say
from pipeline.files import write_json
from pipeline.params import load
from pipeline.tables import write_csv
from stages.schema import OptimizerName, Params, Quadratic

Bests = dict[OptimizerName, tuple[float, quadratic.Run]]  # each one's best step size, and its run


def main() -> None:
    name = argument("quadratic")
    compute, settings = load(Params, "compute", f"quadratic.{name}")
    prepare(compute.threads)
    a, start, steps = settings.a, settings.start, settings.steps
    bests = compare(settings)
    curves = {str(name): _log10(run.losses.tolist(), steps) for name, (_, run) in bests.items()}
    plain = quadratic.minimize("gradient descent", settings.lr, a, start, steps)
    loss = plain.losses[-1].item()
    metrics = {
        "lr": settings.lr,
        "steps": steps,
        "diverged": plain.diverged,
        "final_loss": None if plain.diverged else loss,
        "log10_final_loss": plain.log10_final,
        "steps_to_target": plain.steps_to_target,
        "sign_changes": plain.sign_changes,
        **quadratic.facts(a, settings.lr, start, plain),
    }
    report = Path("reports/quadratic", name)
    path = {f"x{i}": plain.positions[:, i - 1].tolist() for i in range(1, len(a) + 1)}
    losses = plain.losses.tolist()
    logs = {"log10_loss": _log10(losses, len(losses) - 1)}
    trajectory = pd.DataFrame({"iteration": range(len(losses)), "loss": losses, **logs, **path})
    write_csv(report / "trajectory.csv", trajectory)
    write_csv(report / "losses.csv", pd.DataFrame({"iteration": range(steps + 1), **curves}))
    comparison = table(settings, bests)
    write_csv(report / "comparison.csv", comparison)
    rotated = compare(settings, quadratic.rotation(len(a)))
    # not the changes of sign: along other axes than the optimizer's own, rounding errors make many
    write_csv(report / "rotated.csv", table(settings, rotated).drop(columns=["sign_changes", "evaluations"]))
    write_json(report / "metrics.json", metrics)
    write_json(Path("reports/metrics/quadratic", f"{name}.json"), {"log10_f": plain.log10_final})
    reached = comparison["steps_to_target"].notna().sum()
    say(f"{name}: {reached} of {len(comparison)} optimizers reach a loss below {quadratic.TARGET}")


def compare(settings: Quadratic, axes: Tensor | None = None) -> Bests:
    """Of each optimizer the best of its step sizes, by the last loss, and its run."""
    bests: Bests = {}
    for optimizer, grid in settings.optimizers.items():
        tried = {
            lr: quadratic.minimize(optimizer, lr, settings.a, settings.start, settings.steps, axes)
            for lr in grid
        }
        bests[optimizer] = min(tried.items(), key=lambda pair: _order(pair[1]))
    return bests


def table(settings: Quadratic, bests: Bests) -> pd.DataFrame:
    """A row for each optimizer: its step size, and how far it gets with it."""
    rows = []
    for optimizer, (lr, best) in bests.items():
        grid = settings.optimizers[optimizer]
        inside = min(grid) < lr < max(grid)
        rows.append(
            {
                "optimizer": optimizer,
                "lr": lr,
                "tried": len(grid),
                "at_edge": "" if len(grid) == 1 or inside else "lowest" if lr == min(grid) else "highest",
                "sign_changes": sum(best.sign_changes),
                "steps_to_target": best.steps_to_target,
                "evaluations": best.evaluations,
                "log10_final_loss": best.log10_final,
            }
        )
    return pd.DataFrame(rows).astype({"steps_to_target": "Int64"})


def _order(tried: quadratic.Run) -> tuple[bool, float, int]:
    """The smallest loss, and of equal ones (0 in float64) the one that got there first."""
    zero = (tried.losses == 0).nonzero()
    return tried.diverged, tried.losses[-1].item(), int(zero[0, 0]) if len(zero) else 0


def _log10(losses: list[float], steps: int) -> list[float | None]:
    curve = [math.log10(max(loss, 1e-300)) if loss < math.inf else None for loss in losses]
    return curve + [None] * (steps + 1 - len(losses))


if __name__ == "__main__":
    run(main)
