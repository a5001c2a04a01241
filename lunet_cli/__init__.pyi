"""The public names of `lunet_cli` and where they come from; `__init__.py` imports them lazily."""

from lunet_cli.config.load import load_config as load_config
from lunet_cli.config.options import (
    BenchOptions as BenchOptions,
)
from lunet_cli.config.options import (
    EvaluationOptions as EvaluationOptions,
)
from lunet_cli.config.options import (
    ExportOptions as ExportOptions,
)
from lunet_cli.config.options import (
    OutputOptions as OutputOptions,
)
from lunet_cli.config.options import (
    PhantomOptions as PhantomOptions,
)
from lunet_cli.config.options import (
    PlanOptions as PlanOptions,
)
from lunet_cli.config.options import (
    PredictionOptions as PredictionOptions,
)
from lunet_cli.config.options import (
    ShrinkOptions as ShrinkOptions,
)
from lunet_cli.config.options import (
    StudyOptions as StudyOptions,
)
from lunet_cli.config.run import RunConfig as RunConfig
from lunet_cli.engine.benchmarking.benchmark import benchmark as benchmark
from lunet_cli.engine.data.cache_folder import (
    cache_info as cache_info,
)
from lunet_cli.engine.data.cache_folder import (
    clear_cache as clear_cache,
)
from lunet_cli.engine.data.check import check_data as check_data
from lunet_cli.engine.data.fingerprint import fingerprint as fingerprint
from lunet_cli.engine.data.mending import mend_data as mend_data
from lunet_cli.engine.data.phantom_files import write_phantom as write_phantom
from lunet_cli.engine.evaluation.compare import compare as compare
from lunet_cli.engine.evaluation.evaluate import evaluate as evaluate
from lunet_cli.engine.evaluation.score import score as score
from lunet_cli.engine.exporting.export import export as export
from lunet_cli.engine.inference.images import (
    PredictedArray as PredictedArray,
)
from lunet_cli.engine.inference.images import (
    PredictedImage as PredictedImage,
)
from lunet_cli.engine.inference.load_model import load_model as load_model
from lunet_cli.engine.inference.predict import predict as predict
from lunet_cli.engine.inference.predictor import Predictor as Predictor
from lunet_cli.engine.pruning.prune import prune as prune
from lunet_cli.engine.pruning.shrink import shrink as shrink
from lunet_cli.engine.studies.study import study as study
from lunet_cli.engine.training.folds import train_folds as train_folds
from lunet_cli.engine.training.planning import Plan as Plan
from lunet_cli.engine.training.planning import plan as plan
from lunet_cli.engine.training.train import train as train
from lunet_cli.errors import (
    CheckpointError as CheckpointError,
)
from lunet_cli.errors import (
    ConfigError as ConfigError,
)
from lunet_cli.errors import (
    DataError as DataError,
)
from lunet_cli.errors import (
    DeviceError as DeviceError,
)
from lunet_cli.errors import (
    ExportError as ExportError,
)
from lunet_cli.errors import (
    LunetError as LunetError,
)
from lunet_cli.errors import (
    MissingDependencyError as MissingDependencyError,
)
from lunet_cli.errors import (
    OutputError as OutputError,
)
from lunet_cli.errors import (
    TrainingError as TrainingError,
)
from lunet_cli.records.check import (
    DataCheck as DataCheck,
)
from lunet_cli.records.check import (
    DataMending as DataMending,
)
from lunet_cli.records.fingerprint import Fingerprint as Fingerprint
from lunet_cli.records.model_folder import list_models as list_models
from lunet_cli.results.benchmarking import BenchResult as BenchResult
from lunet_cli.results.cache import CacheInfo as CacheInfo
from lunet_cli.results.evaluation import CompareResult as CompareResult
from lunet_cli.results.evaluation import EvalResult as EvalResult
from lunet_cli.results.events import Event as Event
from lunet_cli.results.exporting import ExportResult as ExportResult
from lunet_cli.results.folds import FoldsResult as FoldsResult
from lunet_cli.results.prediction import PredictResult as PredictResult
from lunet_cli.results.pruning import PruneResult as PruneResult
from lunet_cli.results.shrinking import ShrinkResult as ShrinkResult
from lunet_cli.results.training import TrainResult as TrainResult
from lunet_cli.results.training_studies import TrainingStudy as TrainingStudy

__version__: str
