"""Stage evaluate_differences: what each further variant gains over the first, on the same test images."""

from __future__ import annotations

from pathlib import Path

from elbo.differences import paired
from pipeline.arrays import read_npz
from pipeline.console import run, say
from pipeline.files import write_json
from pipeline.params import load
from stages.schema import Params


def main() -> None:
    (variants,) = load(Params, "vae")
    images = {}
    for name in variants:
        scored, exact = (read_npz(Path("data", kind, f"{name}.npz")) for kind in ("elbo", "likelihood"))
        images[name] = {
            "index": scored["index_test"],
            "elbo": scored["elbo_test"],
            "log_likelihood": exact["log_likelihood_test"],
        }
    first, *others = images
    differences = {name: {"base": first, **paired(images[name], images[first])} for name in others}
    write_json("reports/vae_differences.json", differences)
    for name, found in differences.items():
        parts = ("elbo", "log_likelihood", "inference_gap")
        say(
            f"{name} - {first}: "
            + "  ".join(f"{part} {found[part]:+.3f} ± {found[f'{part}_se']:.3f}" for part in parts)
        )


if __name__ == "__main__":
    run(main)
