"""Names of datasets as people write them; which settings the search in data/search.csv belongs to."""

from collections.abc import Mapping
from typing import Any

TITLES = {
    "mnist": "MNIST",
    "fashion-mnist": "Fashion-MNIST",
    "kmnist": "KMNIST",
    "uci-digits": "UCI digits",
    "annuli": "two annuli",
    "own": "own images",  # own-<file or folder>, if its name says more
}
SAMPLED = {"static": "pixels sampled once", "dynamic": "pixels sampled anew each epoch"}


def dataset_title(name: str, fallback_for: str = "") -> str:
    """`MNIST` for mnist; a name that is not known stays as it is; a fallback and sampled pixels say so."""
    name, _, sampled = name.partition(".")
    title = TITLES.get(name, f"own images ({name[4:]})" if name.startswith("own-") else name)
    title += f", {SAMPLED[sampled]}" if sampled in SAMPLED else ""
    return f"{title}, a stand-in for {dataset_title(fallback_for)}" if fallback_for else title


# What data/search.csv did not vary.
NOT_SEARCHED = {
    "latent": 2,
    "architecture": {"kind": "mlp", "hidden": [512, 256], "residual": False},
    "output_bias": "zero",
    "posterior": "diagonal",
    "objective": "elbo",
    "beta": 1.0,
    "beta_warmup": 0.0,
}


def is_searched(settings: Mapping[str, Any], run: Mapping[str, Any]) -> bool:
    """Whether a variant has the settings of a row of data/search.csv, apart from the seed."""
    about = ("name", "seed", "images", "validation_elbo", "validation_elbo_se")
    searched = {key: value for key, value in run.items() if key not in about} | NOT_SEARCHED
    return all(settings[key] == value for key, value in searched.items())
