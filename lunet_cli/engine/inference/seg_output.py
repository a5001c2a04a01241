"""A predicted segmentation as DICOM segmentations that refer to the series of its input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.uid import generate_uid

from lunet_cli import __version__
from lunet_cli.config.options import OutputOptions
from lunet_cli.engine.data.dicom import DicomSeries
from lunet_cli.engine.data.dicom_seg_writing import Maker, SegKind, SegmentFacts, SegSeries
from lunet_cli.engine.data.dicom_source import open_source
from lunet_cli.engine.data.label_meanings import Meaning, meanings_of
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.inference.outputs import CaseOutput
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.engine.inference.segmentation import Segmentation
from lunet_cli.records.prediction import PredictionRecord

Pixels = npt.NDArray[Any]


def segment_numbers(labels: LabelScheme, output: OutputOptions) -> dict[str, int]:
    """The number of the segment of each label, in the order of these numbers.

    In a label map, it is the value of the label. Otherwise segments are counted from 1, as the
    standard asks, in the order of the values: where these are 1, 2, 3, ..., numbers and values are
    the same.
    """
    values = labels.painted_values(output.order)
    in_order = sorted(values, key=values.__getitem__)
    if output.labelmap:
        return {name: values[name] for name in in_order}
    return {name: number for number, name in enumerate(in_order, start=1)}


@dataclass(frozen=True)
class SegWriter:
    """Writes the segmentations of a command.

    Args:
        numbers: See `segment_numbers`.
        meanings: What each label is in codes.
        maker: What has made them.
        output: What is written.
    """

    numbers: dict[str, int]
    meanings: dict[str, Meaning]
    maker: Maker
    output: OutputOptions

    @classmethod
    def of(cls, predictor: Predictor, output: OutputOptions, record: PredictionRecord) -> SegWriter:
        """A writer for what a predictor makes; `record` says how it does."""
        model, labels = predictor.models[0], predictor.card.labels
        kept = {} if model.config is None else model.config.label_codes
        return cls(
            numbers=segment_numbers(labels, output),
            meanings=meanings_of(labels.names, kept),
            maker=Maker(
                network=model.architecture,
                version=__version__,
                serial=record.networks[0][:64],
                parameters=_parameters(record),
            ),
            output=output,
        )

    def write(
        self, segmentation: Segmentation, files: CaseOutput, source: Path | DicomSeries
    ) -> None:
        """Write probabilities, and then the segments: where these are, the case is whole.

        Raises:
            DataError: They cannot be made or written.
        """
        series = SegSeries(open_source(source), self.maker, generate_uid())
        if segmentation.probabilities is not None:
            names = segmentation.scheme.names
            for index, path in enumerate(files.maps):
                segments = [self._facts(names[index], 1)]
                probability = segmentation.probabilities[index]
                series.write(probability, segments, path, kind="FRACTIONAL", number=index + 2)
        segments = [self._facts(name, number) for name, number in self.numbers.items()]
        kind: SegKind = "LABELMAP" if self.output.labelmap else "BINARY"
        series.write(self._pixels(segmentation), segments, files.label_map, kind=kind, number=1)

    def _facts(self, name: str, number: int) -> SegmentFacts:
        return SegmentFacts(number=number, label=name, meaning=self.meanings[name])

    def _pixels(self, segmentation: Segmentation) -> Pixels:
        """Segment numbers (D, H, W), or masks (D, H, W, segments) of labels that overlap."""
        if self.output.labelmap:
            return segmentation.label_map(self.output.order)
        dtype = np.min_scalar_type(len(self.numbers))
        numbers = np.zeros(segmentation.codes.shape, dtype)
        for name, number in self.numbers.items():
            mask = segmentation.mask(segmentation.scheme.names.index(name))
            if numbers[mask].any():
                return self._stacked(segmentation)
            numbers[mask] = number
        return numbers

    def _stacked(self, segmentation: Segmentation) -> Pixels:
        masks = np.empty((*segmentation.codes.shape, len(self.numbers)), np.uint8)
        for place, name in enumerate(self.numbers):
            masks[..., place] = segmentation.mask(segmentation.scheme.names.index(name))
        return masks


def _parameters(record: PredictionRecord) -> dict[str, str]:
    """How volumes went through the networks, as a segmentation tells it."""
    window: object = record.window or "trained"
    if isinstance(window, Sequence) and not isinstance(window, str):
        window = "x".join(map(str, window))
    told = {
        "networks": " ".join(record.networks),
        "window": str(window),
        "overlap": f"{record.overlap:g}",
        "tta": "yes" if record.tta else "no",
        "precision": record.precision,
        "runtime": record.runtime or "torch",
    }
    if record.models:
        told["models"] = ", ".join(record.models)
    if record.postprocess:
        told["postprocess"] = " ".join(record.postprocess)
    return told
