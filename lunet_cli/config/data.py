"""The `data` section: where volumes come from, how they are split and how they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from lunet_cli.config.base import PlainPath, Section
from lunet_cli.config.grouping import LONGEST_PATTERN, checked_pattern
from lunet_cli.config.labels import LabelValue

PHANTOM_LABELS: dict[str, tuple[int, ...]] = {
    "anterior": (1,),
    "posterior": (2,),
    "ventricle": (3,),
}
PHANTOM_NAME = "phantom_{:04d}"
DatasetName = Literal["auto", "phantom", "harp", "paired", "msd", "nnunet", "bids"]


class SplitConfig(Section):
    """Which cases train and which validate.

    Without any key: the folders `train_dir` and `val_dir` if given, else a `splits.json` or
    `splits_final.json` in the data folder, else a fifth of the cases.
    """

    file: PlainPath | None = None
    """JSON file with `{train: [...], val: [...]}`, or a list of such objects, one for each fold; a
    relative path starts at `data.root`."""

    val_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the cases that validate; the others train."""

    fold: Annotated[int, Field(ge=0, le=9999)] | None = None
    """Number of the fold that validates, counted from 0: one of `num_folds`, or one of the list in
    `file`."""

    num_folds: Annotated[int, Field(ge=2, le=9999)] = 5
    """How many folds the cases are divided into when `fold` is given without `file`."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Seed of a random division; null takes `experiment.seed`. Runs of several seeds are compared
    case by case only where they divide the cases alike."""

    group_pattern: (
        Annotated[str, Field(max_length=LONGEST_PATTERN), AfterValidator(checked_pattern)] | None
    ) = None
    """Regular expression whose first group finds the patient in the case id, for instance
    `^(sub-\\d+)`. All cases of a patient then stand on the same side of the split. In the layout
    `bids`, the subject is taken if none is given."""

    def path_below(self, root: Path | None) -> Path | None:
        """Where `file` lies, for a data set in the folder `root`; None if there is none."""
        if self.file is None or root is None:
            return self.file
        return root / self.file

    @model_validator(mode="after")
    def _one_way(self) -> SplitConfig:
        if self.val_fraction is not None and (self.file is not None or self.fold is not None):
            raise ValueError("val_fraction cannot be combined with file or fold; keep one of them")
        if self.fold is not None and self.file is None and self.fold >= self.num_folds:
            raise ValueError(
                f"fold {self.fold} is out of range: with num_folds {self.num_folds} it is 0 to "
                f"{self.num_folds - 1}"
            )
        return self


class PhantomConfig(Section):
    """The built-in generator of anatomy-like volumes."""

    num_cases: Annotated[int, Field(ge=2, le=9999)] = 40
    """Number of volumes."""

    size: Annotated[int, Field(ge=16, le=256)] = 48
    """Edge of a volume in voxels."""

    noise: Annotated[float, Field(ge=0, le=1)] = 0.12
    """Standard deviation of the noise, relative to the contrast between a structure and what
    surrounds it."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the shapes: the same seed gives the same volumes, whatever `experiment.seed` is."""


class DataConfig(Section):
    """Volumes and their reading."""

    dataset: DatasetName = "auto"
    """How the files are arranged. `harp`: `ct_<id>` beside `label_<id>`; `paired`: `images/` and
    `labels/` with equal names; `msd`, `nnunet`: with `dataset.json`; `bids`: subjects, with label
    maps in `derivatives`; `phantom`: built in. `auto` looks at what is there, and takes the phantom
    where no folder is given."""

    root: PlainPath | None = None
    """Folder of the data set; `split` divides its cases."""

    train_dir: PlainPath | None = None
    """Folder of the training cases, where they are kept apart from the validation cases."""

    val_dir: PlainPath | None = None
    """Folder of the validation cases."""

    source: Annotated[str, Field(max_length=1000)] | None = None
    """Where the data for this configuration can be found, in a sentence; it is shown where no
    folder is given, and nothing is trained then."""

    split: SplitConfig = SplitConfig()
    """How the cases below `root` are divided."""

    phantom: PhantomConfig = PhantomConfig()
    """The built-in volumes, which need no files."""

    ignored_value: LabelValue | None = None
    """Value of voxels in label maps of which nobody has said what they are. They count in no loss
    and in no metric, whatever a network makes of them. null takes the label `ignore` of a
    `dataset.json`, as nnU-Net calls it."""

    num_workers: Annotated[int, Field(ge=0, le=1024)] = 0
    """Processes that prepare batches. 0 prepares them in the training process, which is fastest for
    volumes that are kept in memory."""

    pin_memory: bool = False
    """Whether batches are put into page-locked memory, from which copies to a CUDA device are
    faster."""

    persistent_workers: bool = False
    """Whether the worker processes live on between epochs; the result is the same."""

    cache: Literal["auto", "memory", "disk", "none"] = "auto"
    """Where preprocessed volumes are kept: in memory, in files below `cache_dir`, or nowhere, so
    that they are read again each time. `auto` takes memory up to `cache_limit_mib`, then the
    disk."""

    cache_dir: PlainPath | None = None
    """Folder of these files, which any number of runs may share, also at once. null takes
    `<output_dir>/.cache`."""

    cache_precision: Literal["fp32", "fp16"] = "fp32"
    """Numbers in which preprocessed intensities are kept. `fp16` halves their room and rounds them
    to 11 binary digits; a volume with values beyond 1024 stays in fp32."""

    cache_limit_mib: Annotated[int, Field(ge=0, le=2**30)] = 4096
    """Memory that `cache: auto` may use for volumes, in MiB."""

    @property
    def uses_phantom(self) -> bool:
        """Whether the cases are the built-in ones."""
        return self.root is None and self.train_dir is None and self.source is None

    @property
    def is_missing(self) -> bool:
        """Whether the configuration is made for data of which no folder is named."""
        return self.root is None and self.train_dir is None and self.source is not None

    @model_validator(mode="after")
    def _folders_fit(self) -> DataConfig:
        for given, missing in (("train_dir", "val_dir"), ("val_dir", "train_dir")):
            if getattr(self, given) is not None and getattr(self, missing) is None:
                raise ValueError(
                    f"{given} is given without {missing}; give both, or root with a split"
                )
        if self.root is not None and self.train_dir is not None:
            raise ValueError("root and train_dir/val_dir exclude each other; keep one way")
        if self.train_dir is not None and self.split != SplitConfig():
            raise ValueError(
                "train_dir and val_dir are a split already; remove the section split, or use root"
            )
        return self

    @model_validator(mode="after")
    def _dataset_fits(self) -> DataConfig:
        has_folder = self.root is not None or self.train_dir is not None
        if self.dataset == "phantom" and has_folder:
            raise ValueError(
                "dataset: phantom is built in and takes no root, train_dir or val_dir; remove one"
            )
        if self.dataset not in ("auto", "phantom") and not has_folder:
            raise ValueError(
                f"dataset: {self.dataset} needs data.root, or data.train_dir and data.val_dir"
            )
        return self
