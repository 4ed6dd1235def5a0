"""The keys of evaluate_likelihood in params.yaml."""

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from stages.schema_types import Count, NotEmpty, Positive, Seed
from workflow.core.params import Section


class Price(Section):
    images: Count
    samples: Count
    steps: Count
    lr: Positive


class Refinement(Section):
    steps: Count
    draws: Count
    lr: Positive
    samples: Annotated[int, Field(ge=25)]  # fewer have no Pareto k
    prior_share: Annotated[float, Field(gt=0, le=0.5)]


class Annealing(Section):
    images: Count
    tuned: Count
    temperatures: Annotated[int, Field(ge=2)]
    leapfrog: Count
    chains: Count
    simulated: Count


class Wide(Section):
    every: Refinement
    images: Count
    curve: NotEmpty[list[Count]]
    refined: Refinement
    annealed: Annealing

    @field_validator("curve")
    @classmethod
    def _samples_are_shared(cls, ks: list[int]) -> list[int]:
        if (most := max(ks)) < 25:
            raise ValueError(f"the largest k ({most}) must be 25 or more, to judge the weights")
        if odd := [k for k in ks if most % k]:
            raise ValueError(f"the largest k ({most}) must be a multiple of each other one, not of {odd}")
        return ks

    @model_validator(mode="after")
    def _annealed_images_are_refined_too(self) -> Self:
        if self.annealed.images > self.images:
            raise ValueError(
                f"annealed.images ({self.annealed.images}) must be at most images ({self.images})"
            )
        return self


class EvaluateLikelihood(Section):
    seed: Seed
    extent: Annotated[float, Field(ge=3)]
    nodes: Annotated[int, Field(ge=48, multiple_of=12)]
    refined: Count
    gap_images: Count
    checked: Count
    checks: Annotated[int, Field(ge=10)]
    price: Price
    wide: Wide
