"""Stage optimize_quadratic@NAME: optimizers on a quadratic, and the closed form of gradient descent."""

import math

import pandas as pd
from torch import Tensor

from elbo.determinism import prepare
from elbo.exercises import quadratic
from stages.schema import OptimizerName, Params, Quadratic
from workflow.core.files import write_json
from workflow.core.params import load
from workflow.core.tables import write_csv
from workflow.runs.console import say

Bests = dict[OptimizerName, tuple[float, quadratic.Run]]  # the best step size, and its run


def main(name: str) -> None:
    compute, settings = load(Params, "compute", f"quadratic.{name}")
    prepare(compute.threads)
    a, start, steps = settings.a, settings.start, settings.steps
    bests = compare(settings)
    curves = {str(name): _log10(run.losses.tolist(), steps + 1) for name, (_, run) in bests.items()}
    plain = quadratic.minimize("gradient descent", settings.lr, a, start, steps)
    losses = plain.losses.tolist()
    metrics = {
        "lr": settings.lr,
        "steps": steps,
        "diverged": plain.diverged,
        "final_loss": None if plain.diverged else losses[-1],
        "log10_final_loss": plain.log10_final,
        "steps_to_target": plain.steps_to_target,
        "sign_changes": plain.sign_changes,
        **quadratic.facts(a, settings.lr, start, plain),
    }
    report = f"reports/quadratic/{name}"
    path = {f"x{i}": plain.positions[:, i - 1].tolist() for i in range(1, len(a) + 1)}
    finite = [loss if loss < math.inf else None for loss in losses]
    trajectory = {"iteration": range(len(losses)), "loss": finite, "log10_loss": _log10(losses)}
    write_csv(f"{report}/trajectory.csv", trajectory | path)
    write_csv(f"{report}/losses.csv", {"iteration": range(steps + 1), **curves})
    comparison = table(settings, bests)
    write_csv(f"{report}/comparison.csv", comparison)
    rotated = compare(settings, quadratic.rotation(len(a)))
    # without the changes of sign: along axes other than the optimizer's, rounding errors make many
    write_csv(f"{report}/rotated.csv", table(settings, rotated).drop(columns=["sign_changes", "evaluations"]))
    write_json(f"{report}/metrics.json", metrics)
    write_json(f"reports/metrics/quadratic/{name}.json", {"log10_f": plain.log10_final})
    reached = comparison["steps_to_target"].notna().sum()
    say(f"{name}: {reached} of {len(comparison)} optimizers reach a loss below {quadratic.TARGET}")


def compare(settings: Quadratic, axes: Tensor | None = None) -> Bests:
    """The best step size of each optimizer, by the last loss, and its run."""
    bests: Bests = {}
    a, start, steps = settings.a, settings.start, settings.steps
    for optimizer, grid in settings.optimizers.items():
        runs = ((lr, quadratic.minimize(optimizer, lr, a, start, steps, axes)) for lr in grid)
        bests[optimizer] = min(runs, key=lambda pair: _order(pair[1]))
    return bests


def table(settings: Quadratic, bests: Bests) -> pd.DataFrame:
    """A row for each optimizer: its best step size and the results."""
    rows = []
    for optimizer, (lr, best) in bests.items():
        grid = settings.optimizers[optimizer]
        edges = {min(grid): "lowest", max(grid): "highest"} if len(grid) > 1 else {}
        rows.append(
            {
                "optimizer": optimizer,
                "lr": lr,
                "tried": len(grid),
                "at_edge": edges.get(lr, ""),
                "sign_changes": sum(best.sign_changes),
                "steps_to_target": best.steps_to_target,
                "evaluations": best.evaluations,
                "log10_final_loss": best.log10_final,
            }
        )
    return pd.DataFrame(rows).astype({"steps_to_target": "Int64"})


def _order(run: quadratic.Run) -> tuple[bool, float, int]:
    """Sorts by the last loss; where it is 0 (in float64), by the first step that reaches it."""
    zero = (run.losses == 0).nonzero()
    return run.diverged, run.losses[-1].item(), int(zero[0, 0]) if len(zero) else 0


def _log10(losses: list[float], length: int = 0) -> list[float | None]:
    curve = [math.log10(max(loss, 1e-300)) if loss < math.inf else None for loss in losses]
    return curve + [None] * (length - len(losses))
