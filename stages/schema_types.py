"""Types of the values of params.yaml."""

from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field, StringConstraints

LONGEST = 60  # letters of a name: files are called by it, and a file's name has 255 bytes at most


def _is_short(name: str) -> str:
    if len(name) > LONGEST:
        raise ValueError(f"a name of {len(name)} letters is too long; write {LONGEST} or fewer")
    return name


Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]*$"), AfterValidator(_is_short)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[float, Field(gt=0, le=1e30)]  # far more overflows float32
Scale = Annotated[float, Field(ge=1e-100, le=1e100)]  # products and squares are finite numbers
NotNegative = Annotated[float, Field(ge=0, le=1e30)]
Share = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(gt=0, lt=1)]
T = TypeVar("T")
NotEmpty = Annotated[T, Field(min_length=1)]
Pair = Annotated[list[T], Field(min_length=2, max_length=2)]
Pictures = Annotated[int, Field(ge=1, le=50)]  # more are too small to see, and take minutes to draw
