"""Stage evaluate_differences: the gain of each further variant over the first, on the same test images."""

from typing import Any

from elbo.analysis.differences import paired
from stages.schema import Params
from workflow.core.arrays import read_npz
from workflow.core.files import write_json
from workflow.core.params import load
from workflow.runs.console import say


def main() -> None:
    (variants,) = load(Params, "vae")
    images = {}
    for name in variants:
        arrays = read_npz(f"data/elbo/{name}.npz") | read_npz(f"data/likelihood/{name}.npz")
        images[name] = {key: arrays[f"{key}_test"] for key in ("index", "elbo", "log_likelihood")}
    first, *others = images
    differences: dict[str, dict[str, Any]] = {}
    for name in others:
        differences[name] = {"base": first, **paired(images[name], images[first])}
        # of a wide latent, log p(x) is estimated from below
        if max(variants[first].latent, variants[name].latent) > 2:
            differences[name]["exact"] = False
    write_json("reports/vae_differences.json", differences)
    for name, found in differences.items():
        errors = {
            key: f" ± {error:.3f}"
            for key, error in found.items()
            if key.endswith("_se") and error is not None
        }
        parts = [
            f"{part} {found[part]:+.3f}{errors.get(f'{part}_se', '')}"
            for part in ("elbo", "log_likelihood", "inference_gap")
        ]
        say(f"{name} - {first}: {'  '.join(parts)}")
