"""A whole configuration: one field per section."""

from __future__ import annotations

from pydantic import model_validator

from lunet_cli.config.augmentation import AugmentationConfig
from lunet_cli.config.base import Section
from lunet_cli.config.benchmark import BenchmarkConfig
from lunet_cli.config.data import DataConfig
from lunet_cli.config.evaluation import EvaluationConfig
from lunet_cli.config.experiment import ExperimentConfig
from lunet_cli.config.labels import Labels
from lunet_cli.config.model import ModelConfig
from lunet_cli.config.preprocessing import PreprocessingConfig
from lunet_cli.config.training import TrainingConfig, fitting_loss
from lunet_cli.config.visualization import VisualizationConfig
from lunet_cli.config.wandb import WandbConfig
from lunet_cli.errors import ConfigError


class RunConfig(Section):
    """Everything that a run is asked to do."""

    experiment: ExperimentConfig = ExperimentConfig()
    """Name, seed and place."""

    model: ModelConfig = ModelConfig()
    """The network."""

    labels: Labels | None = None
    """Names for label values, `{anterior: 1, posterior: 2}`, or for groups of them, `{whole: [1,
    2]}`. null takes them from `dataset.json` or the phantom, and `{foreground: 1}` for other
    layouts."""

    data: DataConfig = DataConfig()
    """The volumes."""

    preprocessing: PreprocessingConfig = PreprocessingConfig()
    """From stored volume to network input."""

    augmentation: AugmentationConfig = AugmentationConfig()
    """Random changes while training."""

    training: TrainingConfig = TrainingConfig()
    """Learning."""

    evaluation: EvaluationConfig = EvaluationConfig()
    """Measures at the end."""

    benchmark: BenchmarkConfig = BenchmarkConfig()
    """Latency at the end."""

    visualization: VisualizationConfig = VisualizationConfig()
    """Pictures at the end."""

    wandb: WandbConfig = WandbConfig()
    """Mirror of the history."""

    @model_validator(mode="after")
    def _sections_fit(self) -> RunConfig:
        if self.model.activation != "auto":
            try:
                fitting_loss(self.training.loss.name, self.model.activation)
            except ConfigError as error:
                raise ValueError(f"{error.message}. {error.hint}") from None
        # Settings without effect are a mistake; those that a resolved file writes out are not.
        is_default = self.augmentation == AugmentationConfig()
        if not self.augmentation.enabled and not is_default:
            raise ValueError(
                "augmentation has settings but enabled is false; set augmentation.enabled: true"
            )
        return self
