"""Figures of optimizers: losses that leave the frame keep a mark."""

from __future__ import annotations

import numpy as np
import pandas as pd

from plots import exercises


def test_a_loss_that_falls_below_the_floor_ends_there_with_a_mark() -> None:
    losses = pd.DataFrame({"iteration": [0, 1, 2, 3], "Adam": [0.0, -10.0, -30.0, -300.0]})
    table = pd.DataFrame({"optimizer": ["Adam"], "lr": [0.1]})
    trajectory = pd.DataFrame({"iteration": [0, 1], "x1": [1.0, 0.0], "x2": [1.0, 0.0]})
    _, axes = exercises.optimizers(trajectory, losses, table, [1.0, 1.0], 0.1).axes
    line = next(line for line in axes.lines if str(line.get_label()).startswith("Adam"))
    assert np.asarray(line.get_xydata(), dtype=float).tolist() == [[0, 0], [1, -10], [1.5, -20]]
    marks = [np.asarray(mark.get_xdata()).tolist() for mark in axes.lines if mark.get_marker() == "v"]
    assert [1.5] in marks


def test_an_optimizer_that_begins_below_the_frame_has_its_mark() -> None:
    losses = pd.DataFrame({"iteration": [0, 1, 2], "a": [-30.0, -31, -32], "b": [1.0, 0, -1]})
    trajectory = pd.DataFrame({"iteration": [0, 1, 2], "x1": [1.0, 0.5, 0.2], "x2": [1.0, 0.5, 0.2]})
    comparison = pd.DataFrame({"optimizer": ["a", "b"], "lr": [0.1, 0.1]})
    fig = exercises.optimizers(trajectory, losses, comparison, [1.0, 1.0], 0.1)
    marks = [line for line in fig.axes[1].lines if line.get_marker() == "v"]
    assert any(np.array_equal(np.asarray(line.get_ydata()), [exercises.FLOOR]) for line in marks)
