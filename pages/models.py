"""A variant's settings in words, and which of the notebook's guesses the variants of params.yaml measure."""

from collections.abc import Iterable, Mapping
from typing import Any

POSTERIORS = {
    "diagonal": "a Gaussian with diagonal covariance",
    "full": "a Gaussian with full covariance",
    "flow": "a flow, a Gaussian bent by two autoregressive networks",
}
FAMILIES = {
    "encoder": "the encoder's q",
    "best diagonal": "the best diagonal Gaussian",
    "best full": "the best Gaussian with full covariance",
    "best flow": "the best flow",
}
ESTIMATORS = {
    "best diagonal, all images": "the best diagonal Gaussian, all images",
    "iwae": "IWAE: the encoder's q",
    "encoder": "the encoder's q, and the prior",
    "best diagonal": "the best diagonal Gaussian, and the prior",
    "best full": "the best Gaussian with full covariance, and the prior",
    "best flow": "the best flow, and the prior",
    "annealed": "annealed importance sampling, by chains",
}
# What one would change, and the settings that do.
IDEAS = {
    "convolutions": ("architecture",),
    "other layers": ("architecture",),
    "another number of latent dimensions": ("latent",),
    "another family of posteriors": ("posterior",),
    "an importance-weighted objective": ("objective", "k"),
    "regularization": ("input_dropout", "weight_decay", "beta", "beta_warmup", "clip_norm"),
}

Settings = Mapping[str, Any]


def architecture(settings: Settings) -> str:
    """`mlp 512–256, residual`, or `conv 32–64, hidden 256`: the kind, its first list of widths, all else."""
    words = []
    for key, value in settings.items():
        if isinstance(value, bool):
            words += [key] if value else []
        elif key != "kind":
            text = "–".join(map(str, value)) if isinstance(value, list) else str(value)
            words.append(f"{key} {text}" if words else text)
    return f"{settings['kind']} {', '.join(words)}".strip()


def decoder(settings: Settings, activation: str) -> str:
    """The hidden layers of a variant's decoder, which has the encoder's in reverse."""
    if not settings.keys() <= {"kind", "hidden", "channels", "residual"} or "hidden" not in settings:
        return f"those of {architecture(settings)} in reverse with {activation}"
    text = f"{' and '.join(map(str, reversed(settings['hidden'])))} units with {activation}"
    if channels := settings.get("channels"):
        text += f" and transposed convolutions of {' and '.join(map(str, reversed(channels)))} channels"
    return text + (", with residual links" if settings.get("residual") else "")


def objective(settings: Settings) -> str:
    """`ELBO`, or `IWAE, k = 10`."""
    return (
        "ELBO" if settings["objective"] == "elbo" else f"{settings['objective'].upper()}, k = {settings['k']}"
    )


def measured(variants: Mapping[str, Settings]) -> list[dict[str, str]]:
    """Ideas of `IDEAS` that two variants measure, as they differ in nothing else, the seed apart.

    Each has `idea`, `variant`, the earlier variant `base`, and what differs: `value` and `base_value`.
    """
    found: list[dict[str, str]] = []
    for place, (name, own) in enumerate(variants.items()):
        for other, base in list(variants.items())[:place]:
            changed = [key for key in own if own[key] != base[key] and key != "seed"]
            convolves = own["architecture"]["kind"] == "conv" != base["architecture"]["kind"]
            other_idea = "other layers" if convolves else "convolutions"
            for idea, keys in IDEAS.items():
                known = any((item["idea"], item["variant"]) == (idea, name) for item in found)
                if changed and {*changed} <= {*keys} and idea != other_idea and not known:
                    values = {"value": _values(own, changed), "base_value": _values(base, changed)}
                    found.append({"idea": idea, "variant": name, "base": other, **values})
    return found


def _values(settings: Settings, keys: Iterable[str]) -> str:
    texts = {key: str(settings[key]) for key in keys}
    if "architecture" in texts:
        texts["architecture"] = architecture(settings["architecture"])
    return ", ".join(f"{key.replace('_', ' ')} {text}" for key, text in texts.items())
