"""Optimizers of a quadratic, compared with closed forms and recurrences in plain Python."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elbo.exercises.quadratic import OPTIMIZERS, Run, closed_form, contraction, facts, minimize, rotation
from stages.optimize_quadratic import compare, table
from stages.schema import OptimizerName, Params
from workflow.core.params import load

EQUAL, STRETCHED = (0.2, 0.2), (0.05, 1.2)  # the notebook's
WIDE = tuple(10 ** (-2 + 4 * i / 9) for i in range(10))
RATES = {  # learning rates at which each optimizer makes progress on STRETCHED
    "gradient descent": 0.4,
    "heavy ball": 0.4,
    "Nesterov": 0.1,
    "Adagrad": 8.0,
    "RMSprop": 0.4,
    "Adam": 1.0,
    "preconditioned by 1/a": 0.4,
    "L-BFGS": 1.0,
}


def power(a: Sequence[float], lr: float, start: float, steps: int) -> np.ndarray:
    """x_k = (1 − 2 lr a)^k x_0 in plain Python: (steps + 1, D)."""
    return np.array([[(1 - 2 * lr * curvature) ** k * start for curvature in a] for k in range(steps + 1)])


def losses(positions: np.ndarray, a: Sequence[float]) -> np.ndarray:
    return np.array([sum(c * x * x for c, x in zip(a, row, strict=True)) for row in positions.tolist()])


@pytest.mark.parametrize(
    ("a", "lr", "steps"), [(EQUAL, 0.8, 50), (STRETCHED, 0.8, 50), (WIDE, 0.00999, 1000), ([2.0], 0.25, 3)]
)
def test_gradient_descent_follows_its_closed_form(a: Sequence[float], lr: float, steps: int) -> None:
    expected = power(a, lr, 10.0, steps)
    run = minimize("gradient descent", lr, a, 10.0, steps)
    np.testing.assert_allclose(run.positions, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(run.losses, losses(expected, a), rtol=1e-10, atol=1e-20)
    np.testing.assert_allclose(closed_form(a, lr, 10.0, steps), expected, rtol=1e-10, atol=1e-12)
    assert run.losses[0].item() == pytest.approx(100 * sum(a))


def test_contraction_factors_match_the_notebook() -> None:
    assert contraction(EQUAL, 0.8) == pytest.approx([0.68, 0.68])
    assert contraction(STRETCHED, 0.8) == pytest.approx([0.92, -0.92])
    for a, factors in ((EQUAL, [0.68, 0.68]), (STRETCHED, [0.92, -0.92])):
        positions = minimize("gradient descent", 0.8, a, 10.0, 20).positions
        np.testing.assert_allclose(positions[1:] / positions[:-1], np.tile(factors, (20, 1)), rtol=1e-12)


@pytest.mark.parametrize("a", [EQUAL, STRETCHED, WIDE])
def test_gradient_descent_diverges_beyond_one_over_the_largest_curvature_and_not_below(
    a: Sequence[float],
) -> None:
    limit = 1 / max(a)
    steepest = int(np.argmax(a))
    below, beyond = (
        minimize("gradient descent", factor * limit, a, 10.0, 400).positions[:, steepest].abs()
        for factor in (0.999, 1.001)
    )
    assert (below[1:] < below[:-1]).all()
    assert (beyond[1:] > beyond[:-1]).all()
    assert beyond[-1].item() == pytest.approx(10 * 1.002**400)
    run = minimize("gradient descent", limit, a, 10.0, 5)
    assert facts(a, limit, 10.0, run)["largest_stable_lr"] == pytest.approx(limit)


def test_at_the_largest_stable_step_a_coordinate_oscillates_for_ever() -> None:
    run = minimize("gradient descent", 2.0, [0.5], 10.0, 99)
    assert run.positions[:, 0].tolist() == [10.0, -10.0] * 50
    assert run.sign_changes == [99]
    assert not run.diverged


def test_negative_factors_give_sign_changes() -> None:
    assert minimize("gradient descent", 0.8, STRETCHED, 10.0, 50).sign_changes == [0, 50]
    assert minimize("gradient descent", 0.4, STRETCHED, 10.0, 50).sign_changes == [0, 0]
    path = torch.tensor([[1.0, -1.0], [-2.0, -1.0], [-1.0, 0.5], [3.0, 0.5], [2.0, -0.1]])
    assert Run(path, path.square().sum(1), 5, False).sign_changes == [2, 2]


def test_the_heavy_ball_has_a_momentum_of_nine_tenths() -> None:
    lr, path = 0.1, [[10.0, 10.0]]
    for k in range(50):
        last = path[max(k - 1, 0)]
        path.append(
            [x - lr * 2 * c * x + 0.9 * (x - y) for c, x, y in zip(STRETCHED, path[k], last, strict=True)]
        )
    run = minimize("heavy ball", lr, STRETCHED, 10.0, 50)
    np.testing.assert_allclose(run.positions, path, rtol=1e-9, atol=1e-9)


def test_nesterov_evaluates_the_gradient_ahead() -> None:
    # y_{k+1} = x_k − lr ∇f(x_k) and x_{k+1} = y_{k+1} + 0.9 (y_{k+1} − y_k), y_0 = x_0
    lr, x, y = 0.1, np.full(2, 10.0), np.full(2, 10.0)
    path = [x]
    for _ in range(50):
        ahead = x - lr * 2 * np.array(STRETCHED) * x
        x, y = ahead + 0.9 * (ahead - y), ahead
        path.append(x)
    run = minimize("Nesterov", lr, STRETCHED, 10.0, 50)
    np.testing.assert_allclose(run.positions, path, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("a", [STRETCHED, WIDE])
def test_preconditioned_descent_with_lr_one_half_is_newtons_method(
    a: Sequence[float],
) -> None:
    run = minimize("preconditioned by 1/a", 0.5, a, 10.0, 3)
    assert (run.positions[1:] == 0).all()
    assert run.log10_final == -300
    assert run.steps_to_target == 1
    shrinking = minimize("preconditioned by 1/a", 0.4, a, 10.0, 20).positions
    np.testing.assert_allclose(shrinking, power([1.0] * len(a), 0.4, 10.0, 20), rtol=1e-9, atol=1e-12)


def test_lbfgs_reaches_the_target_where_gradient_descent_does_not() -> None:
    plain = minimize("gradient descent", 0.4, STRETCHED, 10.0, 50)
    learning = minimize("L-BFGS", 1.0, STRETCHED, 10.0, 50)
    assert plain.steps_to_target is None
    assert learning.steps_to_target is not None
    assert learning.steps_to_target <= 15
    many = minimize("L-BFGS", 1.0, WIDE, 10.0, 200)
    assert many.steps_to_target is not None, "ten coordinates, four orders of magnitude of curvature"
    assert many.steps_to_target < 150
    assert minimize("gradient descent", 0.00999, WIDE, 10.0, 200).steps_to_target is None


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_begins_at_the_start_point_and_has_all_steps(name: str) -> None:
    run = minimize(name, RATES[name], STRETCHED, -3.0, 30)
    assert run.positions.shape == (31, 2)
    assert run.positions.dtype == torch.float64
    assert run.positions[0].tolist() == [-3.0, -3.0]
    assert run.evaluations == 30
    assert not run.diverged
    np.testing.assert_allclose(run.losses, losses(run.positions.numpy(), STRETCHED), rtol=1e-12)
    assert run.losses[-1] < run.losses[0] / 10
    assert run.log10_final == pytest.approx(max(-300.0, math.log10(max(run.losses[-1].item(), 1e-300))))


def test_params_accept_all_optimizers_and_no_other() -> None:
    assert set(get_args(OptimizerName)) == set(OPTIMIZERS) == set(RATES)
    with pytest.raises(KeyError):
        minimize("simulated annealing", 0.1, EQUAL, 10.0, 1)


def test_the_target_is_reached_at_the_first_step_below_a_hundredth() -> None:
    def reached(*values: float) -> int | None:
        losses = torch.tensor(values, dtype=torch.float64)
        return Run(torch.zeros(len(values), 1), losses, 0, False).steps_to_target

    assert reached(1.0, 0.01, 0.0099, 5.0, 0.0) == 2
    assert reached(0.001) == 0
    assert reached(1.0, 0.01) is None
    # 40 · 0.68^(2k) < 0.01
    expected = math.ceil(math.log(4000) / (2 * math.log(1 / 0.68)))
    assert minimize("gradient descent", 0.8, EQUAL, 10.0, 50).steps_to_target == expected == 11


@pytest.mark.parametrize("name", ["gradient descent", "heavy ball", "Nesterov", "preconditioned by 1/a"])
def test_a_diverging_run_stops_early_and_is_marked(name: str) -> None:
    run = minimize(name, 30.0, STRETCHED, 10.0, 1000)
    assert run.diverged
    assert len(run.positions) == len(run.losses) == run.evaluations + 1 < 200
    assert (run.positions[:-1].abs() < 1e100).all(), "the run stops at the first step beyond 1e100"
    assert run.positions[-1].abs().max() >= 1e100
    assert run.log10_final is None
    assert run.steps_to_target is None


def test_facts_give_the_deviation_from_the_closed_form() -> None:
    run = minimize("gradient descent", 0.8, STRETCHED, 10.0, 50)
    found = facts(STRETCHED, 0.8, 10.0, run)
    assert found["condition_number"] == pytest.approx(24)
    assert found["largest_stable_lr"] == pytest.approx(1 / 1.2)
    assert found["log10_deviation"] < -12
    other = minimize("heavy ball", 0.8, STRETCHED, 10.0, 50)
    expected = np.abs(other.positions.numpy() - power(STRETCHED, 0.8, 10.0, 50)).max()
    assert facts(STRETCHED, 0.8, 10.0, other)["log10_deviation"] == pytest.approx(math.log10(expected))
    for start in (0.0, 1e-300):  # the powers of the factor overflow, the coordinates do not
        run = minimize("gradient descent", 10.0, STRETCHED, start, 1000)
        assert math.isfinite(facts(STRETCHED, 10.0, start, run)["log10_deviation"])


TINY = 1e-300  # denormal numbers have few digits


@given(
    st.lists(st.floats(0.01, 10), min_size=1, max_size=4),
    st.floats(0.001, 0.999),
    st.floats(-100, 100),
)
@settings(max_examples=60, deadline=None)
def test_below_the_largest_stable_lr_the_loss_never_rises_and_follows_the_closed_form(
    a: list[float], share: float, start: float
) -> None:
    lr = share / max(a)
    run = minimize("gradient descent", lr, a, start, 40)
    assert np.abs(run.positions.numpy() - power(a, lr, start, 40)).max() <= 1e-12 * abs(start) + TINY
    assert (run.losses[1:] <= run.losses[:-1] * (1 + 1e-12)).all()
    assert not run.diverged
    assert all(changes == 0 for changes, c in zip(run.sign_changes, a, strict=True) if 2 * lr * c < 1 - 1e-9)


@pytest.mark.parametrize("size", [1, 2, 10])
def test_the_rotation_matrix_is_orthogonal_and_mixes_all_coordinates(size: int) -> None:
    axes = rotation(size)
    torch.testing.assert_close(axes.T @ axes, torch.eye(size, dtype=torch.float64), rtol=0, atol=1e-15)
    assert torch.linalg.det(axes).item() == pytest.approx(1)
    expected = np.eye(size)
    for i in range(size - 1):  # the product of the planes' rotations, as matrices
        plane = np.eye(size)
        plane[i : i + 2, i : i + 2] = math.sqrt(0.5) * np.array([[1, -1], [1, 1]])
        expected = expected @ plane
    np.testing.assert_allclose(axes, expected, atol=1e-15)
    if size == 2:
        assert axes.abs().flatten().tolist() == pytest.approx([math.sqrt(0.5)] * 4)


@pytest.mark.parametrize("name", ["gradient descent", "heavy ball", "Nesterov"])
def test_optimizers_without_scaling_by_coordinate_are_invariant_to_rotation(name: str) -> None:
    for a in (STRETCHED, WIDE):
        lr = RATES[name] if a == STRETCHED else 0.003
        plain, rotated = (minimize(name, lr, a, 10.0, 20, axes) for axes in (None, rotation(len(a))))
        np.testing.assert_allclose(rotated.positions, plain.positions, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(rotated.losses, plain.losses, rtol=1e-6)


def dense(name: str, lr: float, a: Sequence[float], steps: int) -> np.ndarray:
    """(steps + 1, D) along the axes: the published rules in numpy, on xᵀ H x with a full matrix H."""
    axes = rotation(len(a)).numpy()
    matrix = axes @ np.diag(a) @ axes.T
    x = axes @ np.full(len(a), 10.0)
    path, first, second = [x], np.zeros(len(a)), np.zeros(len(a))
    for k in range(1, steps + 1):
        gradient = 2 * matrix @ x
        if name == "Adagrad":
            second = second + gradient**2
            move = gradient / (np.sqrt(second) + 1e-10)
        elif name == "RMSprop":
            second = 0.99 * second + 0.01 * gradient**2
            move = gradient / (np.sqrt(second) + 1e-8)
        elif name == "Adam":
            first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
            move = first / (1 - 0.9**k) / (np.sqrt(second / (1 - 0.999**k)) + 1e-8)
        else:
            move = gradient / np.diag(matrix)
        x = x - lr * move
        path.append(x)
    return np.stack(path) @ axes


@pytest.mark.parametrize("name", ["Adagrad", "RMSprop", "Adam", "preconditioned by 1/a"])
def test_on_rotated_axes_each_optimizer_follows_its_published_rule(name: str) -> None:
    for a, steps in ((STRETCHED, 50), (WIDE, 12)):
        lr = RATES[name] if a == STRETCHED else 0.1
        found = minimize(name, lr, a, 10.0, steps, rotation(len(a)))
        np.testing.assert_allclose(found.positions, dense(name, lr, a, steps), rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(found.losses, losses(found.positions.numpy(), a), rtol=1e-12)


def test_adagrad_is_slower_on_rotated_axes() -> None:
    a, start = STRETCHED, 10.0
    aligned = minimize("Adagrad", 8.0, a, start, 50)
    assert aligned.losses[-1].item() < 1e-60
    ratio = aligned.positions[:, 0] / aligned.positions[:, 1]
    torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=1e-6, atol=0)  # it moves both alike
    rotated = min(minimize("Adagrad", lr, a, start, 50, rotation(2)).losses[-1].item() for lr in (8.0, 16.0))
    assert rotated == pytest.approx(0.0191, abs=1e-4)
    assert minimize("Adagrad", 8.0, a, start, 50, torch.eye(2, dtype=torch.float64)).log10_final == (
        pytest.approx(aligned.log10_final)
    )


def test_the_step_size_is_chosen_for_each_case_separately() -> None:
    (problem,) = load(Params, "quadratic.ill_conditioned")
    plain = table(problem, compare(problem)).set_index("optimizer")
    rotated = table(problem, compare(problem, rotation(2))).set_index("optimizer")
    assert (plain["lr"]["Adagrad"], rotated["lr"]["Adagrad"]) == (8.0, 16.0)
    assert plain["log10_final_loss"]["Adagrad"] == pytest.approx(-64.474566, abs=1e-6)
    assert rotated["log10_final_loss"]["Adagrad"] == pytest.approx(math.log10(0.0191381), abs=1e-4)
    same = ["gradient descent", "heavy ball", "Nesterov"]
    for column in ("lr", "steps_to_target"):
        assert plain[column][same].equals(rotated[column][same])
