"""What a service says of its models and jobs: the schemas of its JSON."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

ServiceState = Literal["ready", "warming up", "ending"]
JobState = Literal["waiting", "running", "done", "failed", "cancelled"]


class Answer(BaseModel):
    """What all answers have in common; descriptions stand below the fields."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class ModelFacts(Answer):
    """A model of the service."""

    name: str
    """What it is called in requests."""
    architecture: str
    """Name of the preset."""
    labels: dict[str, int]
    """The value of each label in a mask; 0 is background."""
    activation: Literal["sigmoid", "softmax"]
    """`softmax`: labels exclude each other; `sigmoid`: they may overlap."""
    channels: int
    """Image channels that it takes."""
    spacing_mm: tuple[float, float, float] | None
    """Voxel size (z, y, x) to which scans are brought; null: as they are stored."""
    orientation: str | None
    """Orientation to which scans are brought; null: as they are stored."""
    normalization: str
    """How intensities are scaled."""
    parameters: int
    """Number of parameters."""
    sha256: tuple[str, ...]
    """Checksum of the file of each network."""
    warnings: tuple[str, ...]
    """What a user should know before trusting a mask."""


class Models(Answer):
    """The models of the service; the first one is taken where a request names none."""

    models: tuple[ModelFacts, ...]


class Health(Answer):
    """Whether the service takes jobs."""

    status: ServiceState
    """`ready`, or why not."""
    version: str
    """Version of lunet."""
    models: tuple[str, ...]
    """Names of the models."""
    queue_length: int
    """Jobs that wait or are worked on."""


class Problem(Answer):
    """What was wrong, and what to do about it."""

    error: str
    """What was wrong, in one line."""
    hint: str = ""
    """How to mend it; may be empty."""


class JobStatus(Answer):
    """How far a job is."""

    job: str
    """Its id, which only its sender knows."""
    state: JobState
    """`done`: the mask can be fetched."""
    model: str
    """Name of the model."""
    scan: str
    """What the sender calls the scan."""
    progress: float
    """Share of the work that is done, 0 to 1."""
    position: int
    """Jobs before it."""
    seconds: float | None = None
    """From beginning to end; null before."""
    labels: dict[str, int] | None = None
    """The value of each label in the mask; null before the end."""
    volumes_ml: dict[str, float] | None = None
    """Volume of each label, with what others cover of it; null before the end."""
    remarks: tuple[str, ...] = ()
    """What a person should know about the scan."""
    error: str | None = None
    """Why it failed."""
    hint: str | None = None
    """What to do about it."""
