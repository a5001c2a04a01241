"""The `distillation` section: what a network learns from beside the labels."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from lunet_cli.config.base import PlainPath, Section


class DistillationConfig(Section):
    """A teacher, whose probabilities a network learns from beside the labels."""

    teacher: tuple[PlainPath, ...] = ()
    """Trained networks (run folders, checkpoints, names of models, or the folder of a
    cross-validation), whose probabilities are averaged; or one folder of probability maps, as
    `lunet predict --probabilities` or `nnUNetv2_predict --save_probabilities` writes them. None:
    the labels are all."""

    weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the loss that is towards the teacher; the labels have the rest."""

    temperature: Annotated[float, Field(ge=0.1, le=100)] = 1.0
    """What logits of teacher and student are divided by in the loss towards the teacher: above 1,
    the small probabilities count more. The loss is multiplied by its square, so that the weight
    means the same."""

    tta: bool = False
    """Whether each network of the teacher is averaged over mirrored images, along the axes that its
    own training has mirrored."""

    unlabelled_dir: PlainPath | None = None
    """Folder of volumes without label maps, as `lunet predict` takes them. They train too, and
    count towards the teacher only."""

    @model_validator(mode="after")
    def _has_a_teacher(self) -> DistillationConfig:
        if not self.teacher and self.unlabelled_dir is not None:
            raise ValueError("unlabelled_dir teaches nothing without a teacher; name one")
        return self
