"""The keys of params.yaml: their types, their ranges, and what holds between them. None has a default."""

import functools
import operator
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, create_model, field_validator, model_validator

from sources.class_names import name_fault
from stages.schema_likelihood import EvaluateLikelihood
from stages.schema_types import (
    Count,
    Name,
    NotEmpty,
    NotNegative,
    Pair,
    Pictures,
    Positive,
    Probability,
    Scale,
    Seed,
    Share,
)
from workflow.core.params import Section

Activation = Literal["relu", "gelu", "silu", "tanh"]
OptimizerName = Literal[
    "gradient descent",
    "heavy ball",
    "Nesterov",
    "Adagrad",
    "RMSprop",
    "Adam",
    "preconditioned by 1/a",
    "L-BFGS",
]
Counts = Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Field(min_length=1, max_length=16)]
# The architectures: elbo/models/<kind>.py, and the types of its settings.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": Counts, "residual": bool},
    "conv": {"channels": NotEmpty[list[Annotated[int, Field(ge=1, le=512)]]], "hidden": Counts},
}
if TYPE_CHECKING:
    Architecture = Section
else:
    SECTIONS = [
        create_model(kind, __base__=Section, kind=Literal[kind], **settings)
        for kind, settings in ARCHITECTURES.items()
    ]
    Architecture = Annotated[functools.reduce(operator.or_, SECTIONS), Field(discriminator="kind")]
TRAINING_IMAGES = {"mnist": 60_000, "fashion-mnist": 60_000, "kmnist": 60_000, "uci-digits": 1_437}
OUTPUTS = ("data/raw", "data/packages", "models", "reports")  # DVC takes no data from where it writes


class Data(Section):
    dataset: Literal["mnist", "fashion-mnist", "kmnist", "uci-digits", "own"]
    path: str
    classes: list[str] | None
    offline_fallback: Literal["uci-digits"] | None
    binarization: Literal["threshold", "static", "dynamic"]
    threshold: Annotated[float, Field(gt=0, le=1)]
    seed: Seed
    validation: Annotated[int, Field(ge=0)]

    @field_validator("path")
    @classmethod
    def _is_a_path(cls, path: str) -> str:
        if not path.isprintable() or not path.strip():
            raise ValueError("it is no path; write that of an .npz or a folder, such as data/own")
        images = Path(os.path.normpath(Path.cwd() / path))
        for output in map(Path.cwd().joinpath, OUTPUTS):
            if images.is_relative_to(output) or output.is_relative_to(images):
                raise ValueError(f'"{path}" and results would lie in each other; write another, as data/own')
        return path

    @field_validator("classes")
    @classmethod
    def _names_are_names(cls, classes: list[str] | None) -> list[str] | None:
        if classes is not None and not 2 <= len(set(classes)) == len(classes):
            raise ValueError("write two or more names, all different")
        for name in classes or ():
            if fault := name_fault(name):
                raise ValueError(f"{name!r} {fault}")
        return classes

    @field_validator("binarization", mode="before")
    @classmethod
    def _pixels_are_binary(cls, binarization: object) -> object:
        if binarization in (None, False, "none", "off", "grey", "gray"):
            reason = "each pixel's likelihood is Bernoulli, which is none for grey levels between 0 and 1"
            raise ValueError(f"{reason}; write threshold, static or dynamic")
        return binarization

    @model_validator(mode="after")
    def _classes_are_of_own_images(self) -> Self:
        if self.classes is not None and self.dataset != "own":
            raise ValueError(f"classes names those of own images, and {self.dataset} has its own; write null")
        return self

    @model_validator(mode="after")
    def _some_images_remain(self) -> Self:
        images = TRAINING_IMAGES.get(self.dataset)  # of own images, stage binarize knows the number
        if images and self.validation >= images:
            taken = f"{self.validation} of the {images} training images of {self.dataset}"
            raise ValueError(f"validation takes {taken}; leave some to train on")
        return self


class Compute(Section):
    threads: Annotated[int, Field(ge=1, le=1024)]  # libraries take no more, and die of it late
    portable: bool


class Quadratic(Section):
    a: NotEmpty[list[Scale]]
    start: Annotated[float, Field(ge=-1e100, le=1e100)]
    steps: Count
    lr: Scale
    optimizers: NotEmpty[dict[OptimizerName, NotEmpty[list[Scale]]]]


class Annuli(Section):
    seed: Seed
    points: Annotated[int, Field(ge=2, multiple_of=2)]
    positive: Pair[NotNegative]
    negative: Pair[NotNegative]

    @model_validator(mode="after")
    def _radii_rise(self) -> Self:
        for name in ("positive", "negative"):
            inner, outer = getattr(self, name)
            if inner >= outer:
                raise ValueError(f"{name} is not [inner radius, larger outer radius]")
        return self


class Optimization(Section):
    seed: Seed
    epochs: Count
    batch_size: Count
    optimizer: Literal["sgd", "adam"]
    lr: Positive
    schedule: Literal["constant", "cosine"]
    warmup: Share
    weight_decay: NotNegative
    clip_norm: Positive | None
    averaging: Share
    activation: Activation
    input_dropout: Share


class Classifier(Optimization):
    hidden: NotEmpty[list[Count]]
    dropout: Share


class Classifiers(Section):  # both are read by stages, and a third would be by none
    annuli: Classifier
    images: Classifier


DECODED = 2**15  # images decoded in a step of training at most; their logits take 100 MB at 28 × 28
# Of an objective and a key: which values fit, and why others do not.
FITS: dict[tuple[str, str], tuple[Callable[[Any], bool], str]] = {
    ("elbo", "k"): (lambda k: k == 1, "it takes one posterior sample; write 1"),
    ("iwae", "k"): (lambda k: k > 1, "its bound with one sample is the elbo; write 2 or more"),
    ("iwae", "posterior"): (
        lambda posterior: posterior != "flow",
        "its gradients need log q(z|x) of given latents, which a flow gives dimension by dimension; "
        "write diagonal or full",
    ),
    ("iwae", "beta"): (lambda beta: beta == 1, "it has no KL to weigh; write 1.0"),
    ("iwae", "beta_warmup"): (lambda share: share == 0, "it has no KL to weigh; write 0.0"),
}


class Variant(Optimization):
    latent: Annotated[int, Field(ge=2, le=128)]
    architecture: Architecture
    output_bias: Literal["zero", "data"]
    objective: Literal["elbo", "iwae"]
    posterior: Literal["diagonal", "full", "flow"]
    k: Count
    beta: Annotated[float, Field(gt=0, le=1000)]  # far more would overflow float32
    beta_warmup: Annotated[float, Field(ge=0, le=1)]

    @field_validator("architecture")
    @classmethod
    def _has_links(cls, value: Any) -> Any:
        if getattr(value, "residual", False) and len(value.hidden) < 2:
            raise ValueError("`residual: true` links hidden layers, and there is one; write false")
        return value

    @field_validator("k")
    @classmethod
    def _fits_memory(cls, k: int, info: ValidationInfo) -> int:
        batch = info.data.get("batch_size", 1)
        if k > 1 and k * batch > DECODED:
            most = f"k × batch_size may be {DECODED} at most"
            raise ValueError(f"{k} samples of {batch} images are too many at once; {most}")
        return k

    @field_validator("k", "posterior", "beta", "beta_warmup")
    @classmethod
    def _fits_objective(cls, value: Any, info: ValidationInfo) -> Any:
        pair = (info.data.get("objective", ""), str(info.field_name))
        fits, reason = FITS.get(pair, (lambda _: True, ""))
        if not fits(value):
            raise ValueError(f"{value} does not fit `objective: {pair[0]}`: {reason}")
        return value


class EvaluateElbo(Section):
    seed: Seed
    images: Count
    samples: Count
    iwae: NotEmpty[list[Count]]

    @model_validator(mode="after")
    def _samples_fill_bounds(self) -> Self:
        if odd := [k for k in self.iwae if self.samples % k]:
            raise ValueError(f"samples ({self.samples}) must be a multiple of each k in iwae, not of {odd}")
        return self


class Critique(Section):
    seed: Seed
    samples: Annotated[int, Field(ge=2)]
    sure: Probability
    compared: Annotated[int, Field(ge=10)]
    neighbours: Annotated[int, Field(ge=1, le=9)]

    @model_validator(mode="after")
    def _some_are_no_neighbours(self) -> Self:
        if self.samples <= self.neighbours:
            raise ValueError(f"samples ({self.samples}) must be more than neighbours ({self.neighbours})")
        return self


class Latents(Section):
    neighbours: Count
    silhouette_images: Annotated[int, Field(ge=100)]


class Interpolation(Section):
    seed: Seed
    pairs: Count
    sure: Probability


class Figures(Section):
    seed: Seed
    digits: Annotated[int, Field(ge=2, le=50)]
    grid: Pictures
    rows: Pictures
    steps: Annotated[int, Field(ge=3, le=50)]


class Params(Section):
    data: Data
    compute: Compute
    quadratic: NotEmpty[dict[Name, Quadratic]]
    annuli: Annuli
    classifier: Classifiers
    vae: NotEmpty[dict[Name, Variant]]
    evaluate_elbo: EvaluateElbo
    evaluate_likelihood: EvaluateLikelihood
    critique: Critique
    latents: Latents
    interpolation: Interpolation
    figures: Figures

    @model_validator(mode="after")
    def _convolutions_fit_pictures(self) -> Self:
        """Of a dataset whose size is known; train_vae says it of others."""
        side = 64 if self.data.dataset == "own" else 28  # pixels; of own images, at most
        for name, variant in self.vae.items():
            channels = getattr(variant.architecture, "channels", [])
            if len(channels) > (most := (side - 1).bit_length()):
                raise ValueError(
                    f"vae.{name}.architecture.channels: {len(channels)} convolutions are too many for "
                    f"pictures of {side} x {side} pixels: each halves both sides; use {most} or fewer"
                )
        return self
