"""The judge's labels for images, latents and lines, compared with loops, closed forms and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import silhouette_score

from elbo.analysis import critique
from elbo.analysis.critique import coverage, distances, frechet_distance
from elbo.analysis.interpolation import Lines, follow
from elbo.analysis.latents import Separation, confused_pairs, recall, separate
from elbo.determinism import stream
from elbo.models.classifier import Classifier
from elbo.models.vae import VAE, Design


def normal(*shape: int, purpose: str = "test") -> torch.Tensor:
    return torch.randn(*shape, generator=stream(0, purpose))


def linear_judge(weight: list[list[float]], bias: list[float]) -> Classifier:
    weights = {"layers.0.weight": torch.tensor(weight), "layers.0.bias": torch.tensor(bias)}
    return Classifier.from_weights(weights, {"activation": "relu"})


def test_the_judge_gives_the_likeliest_class_and_its_confidence() -> None:
    judge = linear_judge([[0.0, 0.0], [math.log(8), 0.0], [0.0, 0.0]], [0.0, 0.0, 0.0])
    found = critique.judge(judge, torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    assert found.label[1] == 1
    assert found.confidence.tolist() == pytest.approx([1 / 3, 0.8])
    assert found.entropy.tolist() == pytest.approx(
        [math.log(3), -0.8 * math.log(0.8) - 0.2 * math.log(0.1)], rel=1e-6
    )
    found = critique.judge(linear_judge([[math.log(4)]], [0.0]), torch.tensor([[1.0], [-1.0]]))
    assert torch.stack([found.label, found.confidence]).flatten().tolist() == pytest.approx([1, 0, 0.8, 0.8])


def test_images_are_binarized_at_one_half_and_blur_is_pixel_entropy() -> None:
    means = torch.tensor([[0.0, 1.0], [0.5, 0.5], [0.49, 1.0], [0.25, 0.0]])
    assert critique.binarized(means).tolist() == [[0, 1], [1, 1], [0, 1], [0, 0]]
    found = critique.pixel_entropy(means)
    assert found[:2].tolist() == pytest.approx([0, math.log(2)])
    assert found[3].item() == pytest.approx((0.25 * math.log(4) + 0.75 * math.log(4 / 3)) / 2)


def test_total_variation_is_half_the_l1_distance() -> None:
    shares = critique.histogram(torch.tensor([0, 0, 2, 3]), 5)
    assert shares.tolist() == [0.5, 0, 0.25, 0.25, 0]
    assert critique.total_variation(shares, shares) == 0
    assert critique.total_variation(shares, torch.tensor([0, 0.5, 0.25, 0.25, 0])) == 0.5
    assert critique.total_variation(shares, torch.tensor([0, 0.5, 0, 0, 0.5])) == 1


@pytest.mark.parametrize("p", [[0.1] * 10, [0.05, 0.15, 0.3, 0.5]])
def test_the_expected_total_variation_matches_simulated_samples(p: list[float]) -> None:
    rng = np.random.default_rng(0)
    first, second = (rng.multinomial(size, p, 4000) / size for size in (400, 1500))
    simulated = 0.5 * np.abs(first - second).sum(1)
    expected = critique.expected_total_variation(torch.tensor(p, dtype=torch.float64), 400, 1500)
    assert expected == pytest.approx(simulated.mean(), rel=0.02)


def test_a_table_by_class_has_shares_and_means() -> None:
    labels, others = torch.tensor([0, 0, 1]), torch.tensor([1, 1, 2])
    values, truths = torch.tensor([1.0, 3.0, 7.0]), torch.tensor([True, False, True])
    rows = critique.by_class(
        ["a", "b", "c"],
        {"share": torch.tensor([0.5, 0.25, 0.25])},
        {"value": (labels, values), "truth": (others, truths)},
    )
    assert rows == [
        {"class": "a", "share": 0.5, "value": 2.0, "truth": None},
        {"class": "b", "share": 0.25, "value": 7.0, "truth": 0.5},
        {"class": "c", "share": 0.25, "value": None, "truth": 1.0},
    ]


def test_the_usual_error_is_the_most_frequent_other_class() -> None:
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 2])
    verdicts = torch.tensor([0, 0, 0, 2, 1, 2, 1, 1, 0])
    assert critique.usual_error(labels, verdicts, 4) == [2, None, 0, None]


def test_the_frechet_distance_matches_the_closed_form_of_gaussians() -> None:
    scale, other = torch.tensor([1.0, 2.0, 0.5]), torch.tensor([2.0, 1.0, 0.5])
    shift = torch.tensor([1.0, 0.0, -2.0])
    turn = torch.linalg.qr(normal(3, 3, purpose="turn")).Q
    a, b = normal(100_000, 3) * scale, normal(100_000, 3, purpose="b") * other + shift
    expected = (shift.square() + (scale - other).square()).sum().item()  # of commuting covariances
    assert frechet_distance(a, b) == pytest.approx(expected, rel=0.02)
    assert frechet_distance(a @ turn + 5, b @ turn + 5) == pytest.approx(frechet_distance(a, b), rel=1e-4)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + shift) == pytest.approx(5, rel=1e-5)


def test_the_frechet_distance_matches_scipys_matrix_square_root() -> None:
    linalg = pytest.importorskip("scipy.linalg")
    a = normal(60, 8) @ normal(8, 8, purpose="mix a")
    b = normal(50, 8, purpose="b") @ normal(8, 8, purpose="mix b") + 1
    cov_a, cov_b = np.cov(a.double().numpy().T), np.cov(b.double().numpy().T)
    shift = (a.double().mean(0) - b.double().mean(0)).square().sum().item()
    expected = shift + np.trace(cov_a) + np.trace(cov_b) - 2 * np.trace(linalg.sqrtm(cov_a @ cov_b).real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-6)
    # with linearly dependent features the covariances have eigenvalues of 0, or just below
    turn = torch.linalg.qr(normal(12, 12, purpose="turn").double()).Q[:8]
    assert frechet_distance(a.double() @ turn, b.double() @ turn) == pytest.approx(expected, rel=1e-6)


def covered(points: np.ndarray, centres: np.ndarray, k: int) -> float:
    def within(point: np.ndarray, centre: np.ndarray) -> bool:
        radius = sorted(math.dist(centre, other) for other in centres)[k]  # the first is 0, to itself
        return math.dist(point, centre) <= radius

    return sum(any(within(point, centre) for centre in centres) for point in points) / len(points)


def test_coverage_matches_a_hand_calculation() -> None:
    centres = torch.tensor([[0.0], [1.0], [3.0], [10.0]])  # to their nearest neighbours: 1, 1, 2, 7
    points = torch.tensor([[-1.5], [-0.5], [5.5], [16.0], [17.5]])
    assert coverage(points, centres, 1) == pytest.approx(3 / 5)
    assert coverage(points, centres[:3], 1) == pytest.approx(1 / 5)
    assert coverage(points, centres[:3], 2) == pytest.approx(3 / 5)


@pytest.mark.parametrize("k", [1, 3])
def test_coverage_in_chunks_or_not_matches_plain_loops(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    points, centres = normal(40, 3) * 1.5, normal(30, 3, purpose="by")
    expected = covered(points.numpy(), centres.numpy(), k)
    assert 0.1 < expected < 0.9
    assert coverage(points, centres, k) == pytest.approx(expected)
    monkeypatch.setattr(critique, "CHUNK", 7)
    assert coverage(points, centres, k) == pytest.approx(expected)


def test_similar_images_have_high_precision_and_low_recall() -> None:
    data, alike = normal(200, 4), 0.1 * normal(200, 4, purpose="alike")
    found = critique.distances(alike, data, 3)
    assert found["precision"] > 0.99
    assert found["recall"] < 0.1
    assert critique.distances(data, alike, 3)["frechet_distance"] == pytest.approx(found["frechet_distance"])


def blobs(spread: float, each: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat(np.arange(3), each)
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    return (centres[labels] + spread * rng.standard_normal((3 * each, 2)))[order], labels[order]


def test_separated_classes_are_predicted_by_their_train_labels() -> None:
    (points, labels), (train, names) = blobs(0.05, 20, 1), blobs(0.05, 30, 0)
    found = separate((train, (names + 1) % 3), (points, labels), 3, 5, 60)
    assert (found.neighbours == (labels + 1) % 3).all()
    assert (found.probe == (labels + 1) % 3).all()
    assert found.confusion.tolist() == [[0, 20, 0], [0, 0, 20], [20, 0, 0]]
    assert (found.silhouette > 0.98).all()


def test_the_nearest_neighbours_vote_on_the_class() -> None:
    (points, labels), (train, names) = blobs(4.0, 20, 1), blobs(4.0, 30, 0)
    nearest = np.linalg.norm(points[:, None] - train, axis=2).argsort(1)[:, :5]
    votes = [np.bincount(row, minlength=3).argmax() for row in names[nearest]]
    found = separate((train, names), (points, labels), 3, 5, 60)
    assert found.neighbours.tolist() == votes


def test_silhouettes_follow_rousseeuws_definition() -> None:
    test = blobs(4.0, 20, 1)
    found = separate(blobs(4.0, 30, 0), test, 3, 5, 50)
    points, labels = (values[:50] for values in test)
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    values = np.empty(50)
    for i, own in enumerate(labels):
        to = np.array([distance[i, labels == label].sum() for label in range(3)])
        to /= np.bincount(labels) - (np.arange(3) == own)  # not to itself
        nearest = min(mean for label, mean in enumerate(to) if label != own)
        values[i] = (nearest - to[own]) / max(nearest, to[own])
    assert found.silhouette == pytest.approx([values[labels == label].mean() for label in range(3)])
    weighted = (found.silhouette * np.bincount(labels)).sum() / 50
    assert weighted == pytest.approx(silhouette_score(points, labels))


@pytest.mark.parametrize(
    ("labels", "expected"), [([0, 1], [0, 0, math.nan]), ([1, 1], [math.nan] * 3), ([2], [math.nan] * 3)]
)
def test_a_silhouette_needs_two_classes_and_a_point_of_the_class(
    labels: list[int], expected: list[float]
) -> None:
    points = np.arange(2.0 * len(labels)).reshape(-1, 2)
    found = separate(blobs(4.0, 5, 0), (points, np.array(labels)), 3, 5, 60)
    assert found.silhouette.tolist() == pytest.approx(expected, nan_ok=True)


def test_one_image_has_neither_a_covariance_nor_neighbours() -> None:
    for a, b in ((1, 9), (9, 1)):
        assert set(distances(normal(a, 3), normal(b, 3), 3).values()) == {None}
    assert None not in distances(normal(2, 3), normal(2, 3, purpose="b"), 3).values()


def test_confused_pairs_and_recall_match_a_hand_calculation() -> None:
    labels, predicted = np.array([0, 0, 0, 1, 1, 2, 2, 2]), np.array([0, 1, 1, 0, 1, 2, 2, 0])
    table = np.array([[1, 2, 0], [1, 1, 0], [1, 0, 2]])
    points = np.array([[9, 9], [1, 5], [2, 7], [6, 6], [9, 9], [9, 9], [9, 9], [-1, -2]], dtype=float)
    found = confused_pairs(Separation(labels, predicted, predicted, table, np.zeros(3)), points)
    assert found == [
        {"first": 0, "second": 1, "images": 3, "share": 3 / 5, "z1": 2.0, "z2": 6.0},
        {"first": 0, "second": 2, "images": 1, "share": 1 / 6, "z1": -1.0, "z2": -2.0},
        {"first": 1, "second": 2, "images": 0, "share": 0.0, "z1": None, "z2": None},
    ]
    assert recall(labels, predicted, 3) == pytest.approx([1 / 3, 1 / 2, 2 / 3])
    assert recall(labels, predicted, 4)[3] is None
    wider = np.pad(table, (0, 2))
    last = confused_pairs(Separation(labels, predicted, predicted, wider, np.zeros(5)), points)[-1]
    assert (last["first"], last["second"], last["images"], last["share"]) == (3, 4, 0, None)


class Straight(VAE):
    """Two pixels that are affine in the latent."""

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return 0.5 + z @ torch.tensor([[0.1, 0.2], [-0.3, 0.1]])


class Circle(Straight):
    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return torch.stack([z[:, 0].cos(), z[:, 0].sin()], 1)


PLAIN = Design(2, {"kind": "mlp", "hidden": [2, 2], "residual": False}, "relu", "diagonal")
SIZES = ((1, 2), PLAIN, stream(0, "init"))
JUDGE = linear_judge([[0.0, 0.0], [math.log(16), 0.0], [0.0, 0.0]], [math.log(4), 0.0, -20.0])


def test_a_straight_line_in_pixels_has_no_detour_and_equal_steps() -> None:
    found = follow(Straight(*SIZES), JUDGE, normal(5, 2), normal(5, 2, purpose="ends"), 7, 0.9)
    assert found.detour.tolist() == pytest.approx([1.0] * 5, rel=1e-5)
    assert found.largest.tolist() == pytest.approx([1 / 6] * 5, rel=1e-4)


def test_half_a_circle_is_longer_than_its_diameter() -> None:
    start, end = torch.tensor([[0.0, 0.0]]), torch.tensor([[math.pi, 0.0]])
    found = follow(Circle(*SIZES), JUDGE, start, end, 11, 0.9)
    assert found.moves[0].tolist() == pytest.approx([2 * math.sin(math.pi / 20)] * 10, rel=1e-5)
    assert found.detour.item() == pytest.approx(10 * math.sin(math.pi / 20), rel=1e-5)


def test_the_judge_sees_binarized_images_along_each_line() -> None:
    starts, ends = torch.tensor([[-1.0, 0.0], [2.0, 0.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    found = follow(Straight(*SIZES), JUDGE, starts, ends, 4, 0.8)
    assert found.labels.tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
    assert found.confidence.flatten().tolist() == pytest.approx([0.8] * 8)
    assert not follow(Straight(*SIZES), JUDGE, starts, ends, 4, 0.81).sure.any()
    assert follow(Straight(*SIZES), JUDGE, starts, ends, 4, 0.79).sure.all()


def test_transitions_and_faithful_steps_count_confident_steps_only() -> None:
    labels = torch.tensor([[0, 1, 1, 0, 2], [3, 3, 4, 3, 3], [5, 5, 5, 6, 6], [1, 2, 3, 4, 5]])
    sure = torch.tensor([[1, 1, 0, 1, 1], [1, 1, 0, 1, 1], [1, 0, 1, 1, 0], [0, 0, 0, 0, 0]]).bool()
    moves = torch.tensor([[1.0, 1.0, 1.0, 1.0], [4.0, 0.0, 0.0, 0.0], [1.0, 2.0, 1.0, 0.0], [2.0] * 4])
    found = Lines(moves, torch.tensor([4.0, 4.0, 2.0, 1.0]), labels, torch.ones(4, 5), sure)
    assert found.transitions.tolist() == [3, 0, 1, 0]
    faithful = found.faithful(torch.tensor([0, 3, 5, 1]), torch.tensor([2, 4, 6, 5]))
    assert faithful.tolist() == pytest.approx([0.6, 0.8, 0.6, 0.0])
    assert found.summary() == pytest.approx(
        {"transitions": 1.0, "unsure": 0.45, "detour": 3.0, "largest_step": (0.25 + 1 + 0.5 + 0.25) / 4}
    )
