"""A whole configuration: one field per section."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import model_validator

from lunet_cli.config.augmentation import AugmentationConfig
from lunet_cli.config.base import Section
from lunet_cli.config.benchmark import BenchmarkConfig
from lunet_cli.config.data import DataConfig
from lunet_cli.config.distillation import DistillationConfig
from lunet_cli.config.evaluation import EvaluationConfig
from lunet_cli.config.experiment import ExperimentConfig
from lunet_cli.config.label_codes import LabelCodes
from lunet_cli.config.labels import Labels
from lunet_cli.config.mlflow import MlflowConfig
from lunet_cli.config.model import ModelConfig
from lunet_cli.config.preprocessing import PreprocessingConfig
from lunet_cli.config.pruning import PruningConfig
from lunet_cli.config.study import StudyConfig
from lunet_cli.config.tensorboard import TensorBoardConfig
from lunet_cli.config.training import TrainingConfig, fitting_loss
from lunet_cli.config.visualization import VisualizationConfig
from lunet_cli.config.wandb import WandbConfig
from lunet_cli.errors import ConfigError


class RunConfig(Section):
    """Everything that a run is asked to do."""

    experiment: ExperimentConfig = ExperimentConfig()
    """What the run is called and where it is kept."""

    model: ModelConfig = ModelConfig()
    """The network."""

    labels: Labels | None = None
    """Names for the values of the label maps, `{anterior: 1, posterior: 2}`, or for groups of
    values, `{whole: [1, 2]}`. null takes the names from `dataset.json` or from the phantom, and
    `{foreground: 1}` for other layouts."""

    label_codes: LabelCodes = {}
    """Codes of labels for DICOM segmentations: `{liver: 10200004}` (SNOMED CT), or a section for
    each. A label without one is looked up by its name among the structures of DICOM."""

    data: DataConfig = DataConfig()
    """The volumes, and how they are split."""

    preprocessing: PreprocessingConfig = PreprocessingConfig()
    """What is done to a volume before the network sees it."""

    augmentation: AugmentationConfig = AugmentationConfig()
    """Random changes to the training patches."""

    training: TrainingConfig = TrainingConfig()
    """How the network learns."""

    distillation: DistillationConfig = DistillationConfig()
    """What it learns from beside the labels; a pruning does not look at it."""

    pruning: PruningConfig = PruningConfig()
    """How channels are removed; a training does not look at it."""

    study: StudyConfig = StudyConfig()
    """Which trainings are compared with each other; a training does not look at it."""

    evaluation: EvaluationConfig = EvaluationConfig()
    """What is measured once training has ended."""

    benchmark: BenchmarkConfig = BenchmarkConfig()
    """Whether the time of a forward pass is measured once training has ended."""

    visualization: VisualizationConfig = VisualizationConfig()
    """Which pictures are drawn once training has ended."""

    wandb: WandbConfig = WandbConfig()
    """A copy of the history at Weights & Biases."""

    tensorboard: TensorBoardConfig = TensorBoardConfig()
    """A copy of the history for TensorBoard."""

    mlflow: MlflowConfig = MlflowConfig()
    """A copy of the history at MLflow."""

    @property
    def without_teacher(self) -> RunConfig:
        """The same configuration, where the labels are all that there is to learn from."""
        return self.model_copy(update={"distillation": DistillationConfig()})

    @model_validator(mode="after")
    def _sections_fit(self) -> RunConfig:
        if self.model.activation != "auto":
            # `auto` is decided with the labels of the data, and the rule is asked again then.
            try:
                fitting_loss(self.training.loss.name, self.model.activation)
            except ConfigError as error:
                raise ValueError(f"{error.message}. {error.hint}") from None
        self._require_labels(self.label_codes)
        ignored = self.data.ignored_value
        for name, values in (self.labels or {}).items():
            if ignored in values:
                raise ValueError(
                    f"data.ignored_value: {ignored} is the value of the label {name}, too; ignore "
                    "another one, or none"
                )
        if self.augmentation.is_in_vain:
            raise ValueError(
                "augmentation has settings, and no patch is changed by them; set "
                "augmentation.level: standard, or a probability"
            )
        return self

    def _require_labels(self, names: Iterable[str]) -> None:
        """Raise if a name is none of the labels, where the configuration names those.

        Raises:
            ValueError: It is not.
        """
        for name in names:
            if self.labels is not None and name not in self.labels:
                raise ValueError(
                    f"label_codes: there is no label {name}; labels are {', '.join(self.labels)}"
                )
