"""Searches with Optuna; trainings that have ended are written and not run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lunet_cli.config.options import StudyOptions
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.studies.plan import Planner
from lunet_cli.engine.studies.study import list_trainings, study, with_vary
from lunet_cli.errors import ConfigError, MissingDependencyError
from lunet_cli.results.studies import TrialDone, TrialMoved
from lunet_cli.results.words import without_password

MakeConfig = Callable[..., RunConfig]
VARY = {
    "training.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "training.batch_size": {"low": 1, "high": 4},
    "training.patch_size": [None, [16, 16, 16]],
}


def test_without_optuna_its_extra_is_named(
    tmp_path: Path, tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    config = tiny_config(tmp_path / "runs", "study.search=tpe")
    with pytest.raises(MissingDependencyError, match=r"needs Optuna") as told:
        study(config, vary=VARY)
    assert "lunet[optuna]" in told.value.hint
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:s3cret@host/db", "postgresql://me:***@host/db"),
        ("mysql+pymysql://me:a%40b:c@host:3306/db", "mysql+pymysql://me:***@host:3306/db"),
        ("sqlite:////shared/study.db", "sqlite:////shared/study.db"),
        ("a word with : and @", "a word with : and @"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown


class TestWithOptuna:
    @pytest.fixture(autouse=True)
    def optuna(self) -> Any:
        return pytest.importorskip("optuna")

    def search(
        self, config: RunConfig, vary: dict[str, Any] = VARY, storage: str | None = None
    ) -> Any:
        from lunet_cli.engine.studies.search import Search

        return Search(Planner(with_vary(config, vary)), storage, may_write=True)

    @pytest.mark.parametrize("sampler", ["random", "tpe", "gp", "qmc"])
    def test_values_come_from_where_they_may(
        self, tmp_path: Path, tiny_config: MakeConfig, sampler: str
    ) -> None:
        found = self.search(
            tiny_config(tmp_path, f"study.search={sampler}", "study.trials=4", "study.seeds=1")
        )
        while found.extend():
            pass
        assert [run.name for run in found.runs()] == [f"trial_000{n}_seed1" for n in range(4)]
        for variant in found.variants():
            training = variant.trials[0].config.training
            assert 1e-4 <= training.learning_rate <= 1e-1
            assert 1 <= training.batch_size <= 4
            assert training.patch_size in (None, (16, 16, 16))
        rates = {variant.values["training.learning_rate"] for variant in found.variants()}
        assert len(rates) == 4

    def test_processes_share_one_list(self, tmp_path: Path, tiny_config: MakeConfig) -> None:
        config = tiny_config(tmp_path, "study.search=random", "study.trials=3", "study.seeds=2")
        first, second = self.search(config), self.search(config)
        assert first.num_to_come() == 6
        assert [first.extend(), second.extend(), first.extend()] == [True] * 3
        assert [first.extend(), second.extend()] == [False] * 2
        names = [run.name for run in first.runs()]
        assert names == [run.name for run in second.runs()]
        assert len(names) == 6
        assert first.num_to_come() == 0
        # A random search is the same whoever works on it.
        alone = self.search(
            tiny_config(tmp_path / "alone", "study.search=random", "study.trials=3")
        )
        while alone.extend():
            pass
        ours = [variant.values for variant in first.variants()]
        assert ours == [variant.values for variant in alone.variants()]

    def test_databases_do_as_well(self, tmp_path: Path, tiny_config: MakeConfig) -> None:
        config = tiny_config(tmp_path, "study.search=random", "study.trials=1", "study.seeds=1")
        url = f"sqlite:///{tmp_path / 'study.db'}"
        assert self.search(config, storage=url).extend()
        again = self.search(config, storage=url)
        assert not again.extend()
        assert len(again.runs()) == 1
        with pytest.raises(ConfigError, match=r"`storage=nosql://me:\*\*\*@h/d`: cannot be opened"):
            self.search(config, storage="nosql://me:pw@h/d")

    def test_another_search_is_refused(self, tmp_path: Path, tiny_config: MakeConfig) -> None:
        config = tiny_config(tmp_path, "study.search=random", "study.trials=1")
        self.search(config)
        with pytest.raises(ConfigError, match="differs from that of the search 'study'"):
            self.search(config, {"training.batch_size": [1, 2]})

    @pytest.mark.parametrize(
        ("vary", "mistake"),
        [
            ({}, "`study.search`: nothing varies"),
            ({"training.epochs": {"low": 0, "high": 5}}, "`vary=training.epochs=0`: training.epoc"),
            ({"training.lr": [1]}, "`vary=training.lr=1`: training.lr: unknown key"),
        ],
    )
    def test_mistakes_are_told_before_anything_is_written(
        self, tmp_path: Path, tiny_config: MakeConfig, vary: dict[str, Any], mistake: str
    ) -> None:
        config = tiny_config(tmp_path / "runs", "study.search=random")
        for job in (study, list_trainings):
            with pytest.raises(ConfigError, match=mistake):
                job(config, vary=vary)
        assert not (tmp_path / "runs").exists()

    def test_a_dry_run_writes_nothing(self, tmp_path: Path, tiny_config: MakeConfig) -> None:
        config = tiny_config(tmp_path / "runs", "study.search=random")
        assert list_trainings(config, vary=VARY) == ()
        assert not (tmp_path / "runs").exists()

    def test_what_a_killed_process_leaves_of_a_choice_is_made_again(
        self, tmp_path: Path, tiny_config: MakeConfig, optuna: Any
    ) -> None:
        config = tiny_config(tmp_path, "study.search=random", "study.trials=1", "study.seeds=1")
        found = self.search(config)
        found._study.ask()  # Without values, as killed between the two.
        with (tmp_path / "study" / "search.journal").open("ab") as file:
            file.write(b'{"op_code": 5, "wor')  # As killed in the middle of a line.
        again = self.search(config)
        assert again.extend()
        assert not again.extend()
        assert [run.name for run in again.runs()] == ["trial_0001_seed1"]

    def test_combinations_that_do_not_fit_are_told_and_count(
        self, tmp_path: Path, tiny_config: MakeConfig
    ) -> None:
        config = tiny_config(tmp_path, "study.search=random", "study.trials=8", "study.seeds=1")
        vary = {"training.scheduler": ["none", "one-cycle"], "training.warmup_epochs": [0, 1]}
        found = self.search(config, vary)
        while found.extend():
            pass
        # One-cycle has its own warm-up.
        assert found.failures()
        for failure in found.failures():
            assert "training.scheduler=one-cycle, training.warmup_epochs=1" in failure.message
        assert len(found.variants()) + len(found.failures()) == 8

    def test_hopeless_trainings_are_given_up(
        self, tmp_path: Path, tiny_config: MakeConfig, optuna: Any
    ) -> None:
        config = tiny_config(
            tmp_path,
            *("study.search=random", "study.trials=7", "study.seeds=2", "study.stop_hopeless=true"),
            "training.epochs=10",
        )
        found = self.search(config)
        while found.extend():
            pass
        *good, bad = found.variants()
        for variant in good:
            run = variant.runs[0]
            for epoch in (1, 2, 3):
                told = TrialMoved(run.name, epoch, 10, "", 0.8)
                assert not found.is_hopeless(run, told)
            found._study.tell(int(variant.name[-4:]), 0.8)
        run, second = bad.runs
        assert not found.is_hopeless(run, TrialMoved(run.name, 1, 10, "", 0.1))  # too early
        assert not found.is_hopeless(second, TrialMoved(second.name, 3, 10, "", 0.1))
        assert found.is_hopeless(run, TrialMoved(run.name, 3, 10, "", 0.1))
        assert found.hopeless() == [bad.name]
        assert run.name not in [one.name for one in found.runs()]
        # Whoever else works on it learns of that.
        assert self.search(config).hopeless() == [bad.name]

    def test_a_search_trains_and_finds_its_best(
        self, tmp_path: Path, tiny_config: MakeConfig, optuna: Any
    ) -> None:
        config = tiny_config(
            tmp_path, "study.search=tpe", "study.trials=2", "study.seeds=1", "training.epochs=1"
        )
        done: list[str] = []

        def tell(event: object) -> None:
            if isinstance(event, TrialDone):
                done.append(event.trial)

        vary = {"training.learning_rate": {"low": 1e-3, "high": 1e-1, "log": True}}
        options = StudyOptions(latency=False)
        found = study(config, vary=vary, options=options, on_event=tell)
        assert done == ["trial_0000_seed1", "trial_0001_seed1"]
        assert found.is_search
        assert found.variants[0].value.mean >= found.variants[1].value.mean
        assert [row.change for row in found.variants] == [None, None]
        kept = self.search(config, vary)._study.get_trials()
        assert {trial.state.name for trial in kept} == {"COMPLETE"}
        assert max(trial.value for trial in kept) == pytest.approx(found.variants[0].value.mean)
        assert study(config, vary=vary, options=options) == found
