"""`NAME.json` beside the weights of a model that is found by its name: all that is said of it."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from lunet_cli.config.network_cost import count_parameters
from lunet_cli.records.network_card import CardRecord, KeptConfig, Versions
from lunet_cli.records.record import Record
from lunet_cli.results.evaluation import MetricSummary
from lunet_cli.results.numbers import Undefinable

# Also a file name on systems that know no capitals, and never the beginning of a path.
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
NAME_RULE = "small letters, digits, '-', '_' and '.', at most 64, beginning with a letter or digit"

_Text = Annotated[str, Field(min_length=1, max_length=2000)]


def is_name(text: str) -> bool:
    """Whether a text can be the name of a model."""
    return _NAME.fullmatch(text) is not None


def _possible(name: str) -> str:
    if not is_name(name):
        raise ValueError(f"is not a name of a model: {NAME_RULE}")
    return name


ModelName = Annotated[str, AfterValidator(_possible)]


class LabelDice(Record):
    """Mean Dice of a label over cases, with its 95 % bootstrap confidence interval."""

    label: _Text
    mean: Undefinable
    low: Undefinable
    high: Undefinable


class MeasuredDice(Record):
    """What a model reaches on cases that it was not trained on.

    Args:
        on: The cases, in words.
        num_cases: How many they are.
        labels: A row for each label, and one for their mean where there are several.
    """

    on: _Text
    num_cases: Annotated[int, Field(ge=1)]
    labels: tuple[LabelDice, ...]

    @classmethod
    def of(cls, summaries: tuple[MetricSummary, ...], on: str) -> MeasuredDice | None:
        """The Dice of an evaluation; None where it has not been measured."""
        rows, num_cases = [], 0
        for row in summaries:
            if row.metric == "dice" and row.num_cases > 0:
                rows.append(
                    LabelDice(
                        label=row.label, mean=row.mean, low=row.interval[0], high=row.interval[1]
                    )
                )
                num_cases = max(num_cases, row.num_cases)
        if not rows:
            return None
        return cls(on=on, num_cases=num_cases, labels=tuple(rows))

    @property
    def overall(self) -> LabelDice:
        """The mean of labels, or the only label; it is the last row."""
        return self.labels[-1]


class DataSource(Record):
    """The data of a training, and on which terms they are given."""

    name: _Text
    origin: _Text
    licence: _Text
    licence_url: _Text
    citation: _Text
    num_training: Annotated[int, Field(ge=1)]
    num_validation: Annotated[int, Field(ge=1)]


class Statement(Record):
    """What people say of a model, and no file knows.

    Args:
        title: What it does, in a line.
        expects: The input that it is made for.
        intended_use: What it may be used for.
        limits: Where it fails, or has not been tried.
        licence: On which terms the weights are given.
        data: What it was trained on.
    """

    title: _Text
    expects: _Text
    intended_use: _Text
    limits: tuple[_Text, ...]
    licence: _Text
    data: DataSource


class ModelPage(CardRecord):
    """All that is said of a model.

    Args:
        name: What it is called; its files are `<name>.json` and `<name>.pt`.
        also_called: A second name, of the one of several sizes that is recommended.
        version: Raised when the weights are others.
        sha256: SHA-256 of the weights' file.
        num_bytes: Its size.
        architecture: Name of the preset.
        epoch: Epochs that the weights have seen.
        seed: Seed of the training; None if it is not known.
        git_commit: Commit of the repository that it was trained in; None if it is not known.
        versions: Versions of lunet and the libraries.
        config: The recipe, without places of the machine.
        dice: What it reaches; None where nothing was measured.
        statement: What people say of it; None of one's own models.
    """

    what: ClassVar[str] = "the page of a model"
    written_by: ClassVar[str] = "`add_model(RUN, name=NAME)` writes it."
    is_always_marked: ClassVar[bool] = True

    format: str = "lunet model 1"
    name: ModelName
    also_called: ModelName | None = None
    version: Annotated[int, Field(ge=1)] = 1
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    num_bytes: Annotated[int, Field(ge=1)]
    architecture: _Text
    epoch: Annotated[int, Field(ge=0)]
    seed: int | None
    git_commit: str | None
    versions: Versions
    config: KeptConfig
    dice: MeasuredDice | None
    statement: Statement | None = None

    @property
    def identity(self) -> str:
        """Name and version, as results tell them."""
        return f"{self.name} {self.version}"

    @property
    def num_parameters(self) -> int:
        """Trained values of the network."""
        return count_parameters(self.network)
