from __future__ import annotations

from operator import attrgetter

import pytest

from lunet_cli.config import keys
from lunet_cli.config.keys import key_called, nearest_key
from lunet_cli.config.run import RunConfig


def test_every_synonym_leads_to_a_key_and_to_one_only() -> None:
    defaults = RunConfig()
    words = []
    for key, synonyms in keys._ELSEWHERE.items():
        attrgetter(key)(defaults)
        words += synonyms.split()
    assert len(words) == len(set(words))


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("lr", "training.learning_rate"),
        ("--lr", "training.learning_rate"),
        ("bs", "training.batch_size"),
        ("--batch-size", "training.batch_size"),
        ("batchsize", "training.batch_size"),
        ("batch", "training.batch_size"),
        ("wd", "training.weight_decay"),
        ("epoch", "training.epochs"),
        ("n_epochs", "training.epochs"),
        ("--max_epochs", "training.epochs"),
        ("num_classes", "labels"),
        ("dropout", "model.drop_prob"),
        ("arch", "model.architecture"),
        ("network", "model.architecture"),
        ("seed", "experiment.seed"),
        ("output", "experiment.output_dir"),
        ("--data-root", "data.root"),
        ("--training.epochs", "training.epochs"),
        ("roi_size", "training.patch_size"),
        ("pixdim", "preprocessing.spacing_mm"),
        ("--epohcs", "training.epochs"),
        ("frobnicate", None),
        ("", None),
    ],
)
def test_words_of_other_tools_lead_to_our_keys(word: str, key: str | None) -> None:
    assert key_called(word) == key


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        (("training", "lr"), "Did you mean 'learning_rate'?"),
        (("lr",), "Did you mean 'training.learning_rate'?"),
        (("model", "dropout"), "Did you mean 'drop_prob'?"),
        (("data", "dataset_dir"), "Did you mean 'root'?"),
        (("training", "classes"), "Did you mean 'labels'?"),
        (("training", "zzz"), "Known here: epochs, "),
    ],
)
def test_unknown_keys_lead_to_the_one_that_is_meant(place: tuple[str, ...], sentence: str) -> None:
    assert nearest_key(place).startswith(sentence)
