"""The files of one case, written while its planes are decided."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.engine.data.writing import VolumeWriter, writing
from lunet_cli.engine.inference.bids_output import write_text
from lunet_cli.engine.inference.outputs import CaseOutput
from lunet_cli.engine.inference.segmentation import Painter, Probabilities, Segmentation


class CaseWriter:
    """Label map and probability maps, of which planes come in their order.

    Args:
        files: Where they go.
        geometry: Where their voxels lie.
        scheme: The regions.
        order: In which they are painted; see `LabelScheme.painted_values`.

    Raises:
        DataError: A file cannot be written.
    """

    def __init__(
        self,
        files: CaseOutput,
        geometry: Geometry,
        scheme: LabelScheme,
        order: Sequence[str] | None,
    ) -> None:
        self._files, self._geometry = files, geometry
        self._painter = Painter(scheme, order)
        self._writers: list[VolumeWriter] = []
        with contextlib.ExitStack() as failed:
            for path in files.maps:
                self._open(VolumeWriter(geometry, np.float32, path), failed)
            # The label map comes last: where it is, the case is whole.
            self._open(VolumeWriter(geometry, self._painter.dtype, files.label_map), failed)
            failed.pop_all()

    def _open(self, writer: VolumeWriter, failed: contextlib.ExitStack) -> None:
        self._writers.append(writer)
        failed.callback(writer.discard)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Let all files appear when the block ends, and none if it fails."""
        sidecar = self._files.sidecar
        with all_or_none(self._files), writing(*self._writers):
            if sidecar is not None:
                write_text(sidecar.path, sidecar.text)
            yield

    def put(self, codes: npt.NDArray[Any], probabilities: Sequence[Probabilities]) -> None:
        """Write the next planes (n, H, W).

        Raises:
            DataError: They cannot be written.
        """
        planes = [*probabilities, self._painter.paint(codes)]
        for writer, found in zip(self._writers, planes, strict=True):
            writer.write(found)

    def put_all(self, segmentation: Segmentation) -> None:
        """Write all planes.

        Raises:
            DataError: They cannot be written.
        """
        done = 0
        for codes in segmentation.slabs():
            maps: list[Probabilities] = []
            if segmentation.probabilities is not None:
                maps += list(segmentation.probabilities[:, done : done + len(codes)])
            self.put(codes, maps)
            done += len(codes)

    def volumes_ml(self) -> dict[str, float]:
        """Volume of each label that was written, in ml."""
        return self._painter.volumes_ml(self._geometry)


@contextlib.contextmanager
def all_or_none(files: CaseOutput) -> Iterator[None]:
    """Remove what lies beside a label map that could not be written."""
    try:
        yield
    except BaseException:  # A signal too.
        beside = [] if files.sidecar is None else [files.sidecar.path]
        for path in [*files.maps, *beside]:
            path.unlink(missing_ok=True)
        raise
