"""The `data` section: where volumes come from, how they are split and how they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from lunet_cli.config.base import PlainPath, Section
from lunet_cli.config.grouping import LONGEST_PATTERN, checked_pattern

PHANTOM_LABELS: dict[str, tuple[int, ...]] = {
    "anterior": (1,),
    "posterior": (2,),
    "ventricle": (3,),
}
PHANTOM_NAME = "phantom_{:04d}"
DatasetName = Literal["auto", "phantom", "harp", "paired", "msd", "nnunet"]


class SplitConfig(Section):
    """Which cases train and which validate.

    Without any key: the folders `train_dir` and `val_dir` if given, else a `splits.json` or
    `splits_final.json` in the data folder, else a fifth of the cases.
    """

    file: PlainPath | None = None
    """JSON list of `{train: [...], val: [...]}` (one object per fold); relative paths start at
    `data.root`."""

    val_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of cases that validate."""

    fold: Annotated[int, Field(ge=0, le=9999)] | None = None
    """Which fold validates, from 0: of `num_folds`, or of the list in `file`."""

    num_folds: Annotated[int, Field(ge=2, le=9999)] = 5
    """Number of folds that the cases are divided into when `fold` is given without `file`."""

    group_pattern: (
        Annotated[str, Field(max_length=LONGEST_PATTERN), AfterValidator(checked_pattern)] | None
    ) = None
    """Regular expression on the case id whose first group names the patient, so that no patient
    stands on both sides, for instance `^(sub-\\d+)`."""

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
    """Standard deviation of the noise, relative to the contrast between structure and
    surroundings."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the shapes: the same seed gives the same volumes, whatever `experiment.seed` is."""


class DataConfig(Section):
    """Volumes and their reading."""

    dataset: DatasetName = "auto"
    """Layout of the folder. `harp`: `ct_<id>` beside `label_<id>`; `paired`: `images/` and
    `labels/` with equal names; `msd`, `nnunet`: with `dataset.json`; `phantom`: built in. `auto`
    looks at what is there, and takes the phantom where no folder is given."""

    root: PlainPath | None = None
    """Folder of the data set; `split` divides its cases."""

    train_dir: PlainPath | None = None
    """Folder of the training cases, where they are kept apart from the validation cases."""

    val_dir: PlainPath | None = None
    """Folder of the validation cases."""

    source: Annotated[str, Field(max_length=1000)] | None = None
    """Where to get the data that this configuration is made for, in a sentence; shown where no
    folder is given, instead of training on the phantom."""

    split: SplitConfig = SplitConfig()
    """How the cases below `root` are divided."""

    phantom: PhantomConfig = PhantomConfig()
    """The built-in volumes."""

    num_workers: Annotated[int, Field(ge=0, le=1024)] = 0
    """Processes that prepare batches; 0 prepares them in the training process, which is fastest for
    volumes kept in memory."""

    pin_memory: bool = False
    """Page-locked host memory for faster copies to a CUDA device."""

    persistent_workers: bool = False
    """Keep the worker processes between epochs; without effect on the result."""

    cache: Literal["auto", "memory", "disk", "none"] = "auto"
    """Where preprocessed volumes are kept: in memory, in files below `<output_dir>/.cache`, or
    nowhere (read anew each time). `auto` takes memory up to `cache_limit_mib`, then disk."""

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
