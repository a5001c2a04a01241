"""The keys of a configuration, what people call them elsewhere, and which of them is meant."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel

from lunet_cli.config.mistakes import fields_of, section_at
from lunet_cli.config.names import KeyPath, did_you_mean, dotted
from lunet_cli.config.run import RunConfig

# What torch, Lightning, MONAI, nnU-Net, timm and scikit-learn call our keys; those that differ by
# letters only are found by likeness.
_ELSEWHERE = {
    "experiment.name": "exp_name experiment_name run_name run task_name",
    "experiment.seed": "random_seed manual_seed random_state rng_seed seed_everything",
    "experiment.output_dir": (
        "output out out_dir outdir results results_dir save_dir log_dir logdir run_dir work_dir "
        "default_root_dir"
    ),
    "model.architecture": "arch net network backbone model_name trainer preset",
    "model.in_channels": (
        "input_channels num_input_channels in_chans channels n_channels num_channels"
    ),
    "model.out_channels": "output_channels num_output_channels",
    "model.activation": "final_activation nonlin",
    "model.drop_prob": "dropout dropout_rate drop_rate dropout_prob drop dropout_op p_dropout",
    "labels": "classes class_names num_classes n_classes nclasses label label_names",
    "data.root": (
        "data_dir datadir data_path data_root dataroot dataset_dir dataset_path root_dir "
        "input_dir path folder datalist base_dir nnunet_raw"
    ),
    "data.dataset": "layout format data_format dataset_name dataset_type",
    "data.num_workers": "workers n_workers nworkers num_proc num_processes",
    "data.cache": "cache_rate cache_dataset cache_num",
    "data.split.val_fraction": (
        "val_split validation_split val_ratio val_frac val_size test_size validation_fraction"
    ),
    "data.split.num_folds": "k_folds kfold n_folds n_splits num_splits",
    "data.split.file": "splits splits_file split_file splits_final",
    "data.split.group_pattern": "patient_pattern group_by",
    "preprocessing.spacing_mm": (
        "spacing pixdim target_spacing voxel_spacing voxel_size resample resolution"
    ),
    "preprocessing.orientation": "axcodes orient",
    "preprocessing.normalization.name": (
        "normalize normalise norm normalization_scheme intensity_normalization"
    ),
    "preprocessing.normalization.window_level": "window_center window_centre",
    "augmentation.level": (
        "augment aug augmentations data_augmentation use_augmentation transforms"
    ),
    "augmentation.flip_probability": "flip mirror mirroring flip_prob mirror_axes",
    "augmentation.rotation_deg": "rotation rotate degrees rotation_range",
    "training.epochs": (
        "epoch n_epochs num_epochs max_epochs nepochs total_epochs max_epoch num_train_epochs"
    ),
    "training.batch_size": "bs batch batchsize train_batch_size minibatch_size",
    "training.patch_size": (
        "patch roi_size crop_size roi patch_shape spatial_size window_size input_size image_size"
    ),
    "training.patches_per_case": (
        "samples_per_volume samples_per_image num_patches num_iterations_per_epoch"
    ),
    "training.foreground_fraction": (
        "oversample_foreground_percent oversample_foreground pos_ratio fg_ratio"
    ),
    "training.optimizer": "opt optim",
    "training.learning_rate": "lr base_lr initial_lr init_lr max_lr lr0 step_size_lr",
    "training.weight_decay": "wd l2 decay l2_penalty",
    "training.scheduler": "lr_scheduler sched lr_schedule schedule lrs",
    "training.scheduler_gamma": "gamma lr_gamma",
    "training.scheduler_step_size": "step_size lr_step_size",
    "training.warmup_epochs": "warmup warmup_steps lr_warmup warm_up num_warmup_steps",
    "training.gradient_clip": (
        "grad_clip clip_grad gradient_clip_val max_norm max_grad_norm clip_grad_norm clip"
    ),
    "training.ema_decay": "ema model_ema ema_momentum",
    "training.early_stopping_patience": "patience early_stopping early_stop",
    "training.log_interval": "log_every log_every_n_steps log_freq print_freq print_every",
    "training.device": "gpu gpus cuda accelerator devices use_gpu no_cuda cpu",
    "training.precision": "amp fp16 bf16 half mixed_precision dtype use_amp",
    "training.num_threads": "threads n_threads omp_num_threads torch_threads",
    "training.compile": "torch_compile",
    "training.loss.name": "criterion loss_fn loss_function loss_name",
    "training.checkpoint.save_every": (
        "save_freq save_period every_n_epochs save_interval checkpoint_every save_top_k"
    ),
    "distillation.teacher": "teacher_path teacher_model teacher_run distill_from",
    "distillation.weight": "distill_weight distillation_weight kd_weight kd_alpha",
    "distillation.temperature": "distill_temperature kd_temperature temp",
    "distillation.unlabelled_dir": "unlabelled unlabeled unlabeled_data unlabelled_data",
    "evaluation.metrics": "metric eval_metrics",
    "wandb.enabled": "use_wandb logger",
    "wandb.project": "wandb_project project_name",
    "tensorboard.enabled": "use_tensorboard tensorboard_logger tb",
    "mlflow.enabled": "use_mlflow mlflow_logger",
    "mlflow.tracking_uri": "mlflow_tracking_uri mlflow_uri",
    "mlflow.experiment": "mlflow_experiment mlflow_experiment_name",
}
_BY_OTHER_NAME = {word: key for key, words in _ELSEWHERE.items() for word in words.split()}
# Likeness as difflib counts it. Within its section, a key may be typed rather wrongly; of all keys
# there are so many that a word must be nearly right.
_LIKE_WITHIN_SECTION = 0.6
_LIKE_ANYWHERE = 0.8


def nearest_key(place: KeyPath) -> str:
    """A sentence with the key that was probably meant by an unknown one; empty if there is none."""
    section = section_at(RunConfig, place[:-1])
    known = list(fields_of(section))
    name = str(place[-1])
    meant = _meant_instead(place, known)
    if meant:
        return did_you_mean([f"'{meant}'"])
    # A key of another section comes last: near names within the section are likelier slips.
    for path in _key_paths(RunConfig):
        if path[-1] == name:
            return did_you_mean([f"'{dotted(path)}'"])
    return f"Known here: {', '.join(known)}." if known else ""


def _meant_instead(place: KeyPath, known: list[str]) -> str:
    """The key that has another name elsewhere, or else the one of its section that is like it."""
    name = str(place[-1])
    elsewhere = _BY_OTHER_NAME.get(_plain(name))
    if elsewhere is not None:
        *above, last = elsewhere.split(".")
        is_here = tuple(above) == place[:-1]
        return last if is_here else elsewhere
    close = get_close_matches(name, known, n=1, cutoff=_LIKE_WITHIN_SECTION)
    return "".join(close)


def key_called(word: str, section: str = "") -> str | None:
    """The key that someone means by a word such as `lr`, `batch-size` or `training.epochs`.

    Args:
        word: What was typed.
        section: Where it is looked for first, such as `pruning`.

    Returns:
        Its path with dots; None if no key is meant.
    """
    plain = _plain(word)
    if section and plain in fields_of(RunConfig.model_fields[section].annotation):
        return f"{section}.{plain}"
    by_path: dict[str, str] = {}
    by_name: dict[str, str] = {}
    for path in _key_paths(RunConfig):
        by_path["_".join(path)] = dotted(path)
        by_name.setdefault(path[-1], dotted(path))  # The first of those with one name.
    if plain in by_path:
        return by_path[plain]
    if plain in _BY_OTHER_NAME:
        return _BY_OTHER_NAME[plain]
    for name in get_close_matches(plain, by_name, n=1, cutoff=_LIKE_ANYWHERE):
        return by_name[name]
    return None


def _plain(word: str) -> str:
    return word.strip("-").lower().replace("-", "_").replace(".", "_")


def _key_paths(model: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    """Every key below a section, its sub-sections included."""
    for name, field in model.model_fields.items():
        yield (name,)
        section: Any = field.annotation
        if fields_of(section):
            for path in _key_paths(section):
                yield (name, *path)
