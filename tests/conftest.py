"""What several test modules share: the published figures of presets, and the real command line."""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pytest

from lunet_cli.config.network import NetworkSpec
from lunet_cli.results.benchmarking import BenchRow, Latency
from lunet_cli.results.pruning import PruningStep, RemovedChannel

RunLunet = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the attacks of `tests/fuzz` run in their full number."""
    parser.addoption(
        "--fuzz-full", action="store_true", help="run all attacks of tests/fuzz, not a few of them"
    )


class PresetFacts(NamedTuple):
    """Figures of one preset with one image and one output channel; FLOPs are for 1x1x64x64x64."""

    name: str
    parameters: int
    conv_flops: int


# Measured on the release of Lean Unet (arXiv:2512.03834), in its order.
PRESETS = [
    PresetFacts("unet_small_4f", 353_949, 1_909_194_752),
    PresetFacts("unet_small_3f", 199_336, 1_084_932_096),
    PresetFacts("unet_small_2f", 88_807, 491_978_752),
    PresetFacts("unet_small_1f", 22_362, 130_334_720),
    PresetFacts("lunet_small_4f", 9_929, 1_135_849_472),
    PresetFacts("lunet_small_3f", 5_650, 649_925_376),
    PresetFacts("lunet_small_2f", 2_569, 298_642_432),
    PresetFacts("lunet_small_1f", 686, 82_000_640),
    PresetFacts("unet_large_24f", 4_802_521, 92_629_106_688),
    PresetFacts("unet_large_12f", 1_202_029, 23_245_357_056),
    PresetFacts("unet_large_6f", 301_207, 5_855_379_456),
    PresetFacts("lunet_large_24f", 373_777, 57_693_241_344),
    PresetFacts("lunet_large_12f", 94_009, 14_511_390_720),
    PresetFacts("lunet_large_6f", 23_785, 3_671_887_872),
    PresetFacts("unetpp_small_4f", 410_849, 6_623_592_448),
    PresetFacts("unetpp_small_3f", 231_400, 3_736_780_800),
    PresetFacts("unetpp_small_2f", 103_109, 1_670_578_176),
    PresetFacts("unetpp_small_1f", 25_976, 424_984_576),
    PresetFacts("lunetpp_small_4f", 22_961, 4_829_589_504),
    PresetFacts("lunetpp_small_3f", 13_012, 2_727_654_144),
    PresetFacts("lunetpp_small_2f", 5_869, 1_222_077_440),
    PresetFacts("lunetpp_small_1f", 1_532, 312_859_392),
    PresetFacts("unetpp_large_24f", 5_340_889, 204_214_370_304),
    PresetFacts("unetpp_large_12f", 1_336_861, 51_141_672_960),
    PresetFacts("unetpp_large_6f", 335_035, 12_829_458_432),
    PresetFacts("lunetpp_large_24f", 637_153, 153_122_045_952),
    PresetFacts("lunetpp_large_12f", 160_033, 38_368_591_872),
    PresetFacts("lunetpp_large_6f", 40_381, 9_636_188_160),
    PresetFacts("mednext_small", 102_725, 797_904_896),
]


@pytest.fixture(scope="session")
def facts() -> dict[str, PresetFacts]:
    """The published figures by preset name, in the published order."""
    return {preset.name: preset for preset in PRESETS}


@pytest.fixture(params=PRESETS, ids=lambda preset: preset.name)
def preset_facts(request: pytest.FixtureRequest) -> PresetFacts:
    """The published figures of one preset; a test that takes this runs once for each of the 29."""
    return request.param


class MakeThresholdModel(Protocol):
    def __call__(
        self,
        path: Path,
        *,
        thresholds: tuple[float, ...] = ...,
        activation: str = ...,
        labels: dict[str, tuple[int, ...]] | None = ...,
        in_channels: int = ...,
        window: tuple[int, int, int] = ...,
        spacing_mm: tuple[float, float, float] | None = ...,
        orientation: str | None = ...,
        config: dict[str, Any] | None = ...,
        spec: NetworkSpec | None = ...,
    ) -> Path: ...


@pytest.fixture(scope="session")
def make_threshold_model() -> MakeThresholdModel:
    """Write a checkpoint of a U-Net whose weights make it a threshold on intensities from 0 on.

    With a sigmoid, region `i` is where the first channel exceeds `thresholds[i]`. With a softmax of
    ascending thresholds, region `i` is where it lies between this threshold and the next.
    """

    def make(
        path: Path,
        *,
        thresholds: tuple[float, ...] = (100.5,),
        activation: str = "sigmoid",
        labels: dict[str, tuple[int, ...]] | None = None,
        in_channels: int = 1,
        window: tuple[int, int, int] = (16, 16, 16),
        spacing_mm: tuple[float, float, float] | None = None,
        orientation: str | None = "LPS",
        config: dict[str, Any] | None = None,
        spec: NetworkSpec | None = None,
    ) -> Path:
        import torch

        from lunet_cli.config.presets import parse_preset
        from lunet_cli.engine.checkpoints.checkpoint import Checkpoint, ModelCard, save_checkpoint
        from lunet_cli.engine.data.labels import LabelScheme
        from lunet_cli.engine.data.preprocessing import Normalization, Preprocessing
        from lunet_cli.engine.networks import build_network
        from lunet_cli.records.network_card import Execution, KeptConfig

        regions = labels or {f"label{index + 1}": (index + 1,) for index in range(len(thresholds))}
        scheme = LabelScheme(tuple(regions.items()), activation)  # type: ignore[arg-type]
        spec = replace(
            spec or parse_preset("lunet_small_1f").spec,
            in_channels=in_channels,
            out_channels=scheme.num_channels,
            dropout=0.0,
        )
        network = build_network(spec).eval()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.zero_()
            units = [*network.encoders[0], *network.decoders[-1], network.head[0]]
            for unit in units:
                # The last input channel but at the entrance: in the decoder, that is the skip
                # behind what comes up.
                unit.conv.weight[0, 0 if unit is units[0] else -1, 1, 1, 1] = 1
                unit.norm.weight.fill_((1 + unit.norm.eps) ** 0.5)
            weight, bias = network.head[1].weight, network.head[1].bias
            if activation == "sigmoid":
                weight.fill_(1)
                bias.copy_(-torch.tensor(thresholds))
            else:  # Lines of rising slope cross at the thresholds.
                for index, threshold in enumerate(thresholds):
                    weight[index + 1] = index + 1
                    bias[index + 1] = bias[index] - threshold
        card = ModelCard(
            spec,
            scheme,
            Preprocessing(orientation, spacing_mm, Normalization("none", 40, 400)),
            window,
        )
        execution = Execution(device="cpu", precision="fp32", channels_last=True, compile=False)
        weights = network.state_dict()
        path.parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(
            Checkpoint(card, weights, 1, KeptConfig(config or {}), {"lunet": "test"}, execution),
            path,
        )
        return path

    return make


class WriteManifest(Protocol):
    def __call__(self, run: Path, *, train: tuple[str, ...], val: tuple[str, ...]) -> None: ...


@pytest.fixture(scope="session")
def write_manifest() -> WriteManifest:
    """Write the manifest of a run with these cases on either side."""

    def write(run: Path, *, train: tuple[str, ...], val: tuple[str, ...]) -> None:
        from lunet_cli.config.network import NetworkSpec
        from lunet_cli.records.manifest import DataOrigin, Machine, Manifest, RecordedSplit
        from lunet_cli.records.network_card import (
            Execution,
            LabelRegions,
            NormalizationRecord,
            PreprocessingRecord,
        )

        manifest = Manifest(
            started="2026-01-01T00:00:00+00:00",
            versions={"lunet": "test"},
            machine=Machine(platform="a machine", cpus=2, threads=1),
            seed=0,
            git_commit=None,
            architecture="lunet_small_1f",
            num_parameters=686,
            network=NetworkSpec("lunet", (1, 1, 1, 1, 1)),
            labels=LabelRegions(regions={"liver": (1,)}, activation="sigmoid"),
            preprocessing=PreprocessingRecord(
                orientation="LPS",
                spacing_mm=None,
                normalization=NormalizationRecord(
                    name="zscore", window_level=40.0, window_width=400.0
                ),
            ),
            window=(16, 16, 16),
            execution=Execution(device="cpu", precision="fp32", channels_last=True, compile=False),
            data=DataOrigin(layout="pairs", root=None, cache="memory"),
            split=RecordedSplit(origin="a test", train=train, val=val),
        )
        manifest.write(run / "manifest.json")

    return write


class WriteEvaluation(Protocol):
    def __call__(self, folder: Path, name: str, **changes: Any) -> None: ...


@pytest.fixture(scope="session")
def write_summary() -> WriteEvaluation:
    """Write the summary of an evaluation of a network; its costs and settings may be given."""

    def write(folder: Path, name: str, **changes: Any) -> None:
        from lunet_cli.records.evaluation import EvaluationSummary
        from lunet_cli.results.evaluation import Bootstrap, EvaluatedCases, EvaluatedModel

        costs = {key: changes.pop(key, 100) for key in ("parameters", "conv_flops_at_64")}
        execution = {"runtime": "torch", "device": "cpu", "precision": "fp32"}
        model = EvaluatedModel(
                               ("a.pt",), ("0" * 64,), name, **costs,
                               channels=(1, 1), execution=execution, window=None,
                               overlap=0.5, tta=False)  # fmt: skip
        values: dict[str, Any] = {
            "title": name,
            "model": model,
            "data": EvaluatedCases("data", "pairs", "val", "val cases of data"),
            "labels": {"liver": (1,)},
            "num_cases": 3,
            "nsd_tolerance_mm": 1.0,
            "undefined_distances": "left out",
            "bootstrap": Bootstrap(1000, 0, "95 % percentile, over cases"),
            "versions": {"lunet": "test"},
            "definitions": {},
            "summary": (),
            "failures": (),
        }
        EvaluationSummary(**values | changes).write(folder / "summary.json")

    return write


class Forked:
    """A process that the nursery has forked, as `subprocess.Popen` would have started it."""

    def __init__(self, address: str, output: Path, request: dict[str, Any]) -> None:
        self.args = request["argv"]
        self.returncode: int | None = None
        self._files = [output / f"{name}-{uuid.uuid4().hex}" for name in ("stdout", "stderr")]
        request |= dict(zip(("stdout", "stderr"), map(str, self._files), strict=True))
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(address)
        self._connection.sendall(json.dumps(request).encode() + b"\n")
        self._answers = self._connection.makefile()
        self.pid = int(self._answers.readline())

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(timeout=0)
        return self.returncode

    def wait(self, timeout: float = 600) -> int:
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.returncode = int(self._answers.readline())
            self._answers.close()
            self._connection.close()
        return self.returncode

    def communicate(self, timeout: float = 600) -> tuple[str, str]:
        self.wait(timeout)
        stdout, stderr = (path.read_text(encoding="utf-8") for path in self._files)
        return stdout, stderr

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Nursery:
    """Starts processes that need not load PyTorch, see `nursery.py`.

    Args:
        place: A folder for its address and for what the processes say.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        # Addresses of sockets are short.
        self._folder = tempfile.mkdtemp(prefix="lunet-")
        self._address = f"{self._folder}/s"
        program = str(Path(__file__).parent / "nursery.py")
        self._server = subprocess.Popen(
            [sys.executable, program, self._address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_plain_environment(),
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == b"ready\n"

    def start(
        self, *arguments: str | Path, code: str | None = None, cwd: Path | None = None
    ) -> Any:
        """Start `lunet` with these arguments, or Python code with them."""
        argv = ["lunet" if code is None else "-c", *map(str, arguments)]
        request = {"argv": argv, "code": code, "cwd": str(cwd or Path.cwd())}
        return Forked(self._address, self._place, request)

    def close(self) -> None:
        self._server.communicate()
        shutil.rmtree(self._folder)


def _plain_environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key != "FORCE_COLOR"}
    return kept | {"NO_COLOR": "1"}


class Processes:
    """Starts processes by `subprocess`, where there is no fork that can be relied on."""

    def start(
        self, *arguments: str | Path, code: str | None = None, cwd: Path | None = None
    ) -> Any:
        """Start `lunet` with these arguments, or Python code with them."""
        program = [str(_installed_lunet())] if code is None else [sys.executable, "-c", code]
        return subprocess.Popen(
            [*program, *map(str, arguments)],
            cwd=cwd,
            env=_plain_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def close(self) -> None:
        """There is nothing to end."""


def _installed_lunet() -> Path:
    program = shutil.which("lunet", path=str(Path(sys.executable).parent))
    assert program is not None, (
        "the command lunet is not installed beside the Python that runs the tests"
    )
    return Path(program)


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery | Processes]:
    """Starts `lunet`, or Python code, in a process of its own; returns what `Popen` would."""
    _installed_lunet()
    if sys.platform == "linux":
        started: Nursery | Processes = Nursery(tmp_path_factory.mktemp("nursery"))
    else:
        started = Processes()
    yield started
    started.close()


@pytest.fixture(scope="session")
def run_lunet(nursery: Nursery | Processes) -> RunLunet:
    """Run `lunet` with the given arguments in a process of its own."""

    def run(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        process = nursery.start(*arguments, cwd=cwd)
        stdout, stderr = process.communicate(timeout=600)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    return run


@pytest.fixture
def call_lunet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `lunet` in this process, which saves loading PyTorch; for what ends early."""

    def call(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
        from lunet_cli.cli.app import main

        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["lunet", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(sys.argv, int(ended.value.code or 0), out, err)

    return call


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short but real training on phantoms, evaluated."""
    from lunet_cli.config.load import load_config
    from lunet_cli.engine.evaluation.evaluate import evaluate
    from lunet_cli.engine.training.train import train

    settings = {
        "experiment.output_dir": tmp_path_factory.mktemp("trained"),
        "experiment.name": "short",
        "training.epochs": 6,
        "training.learning_rate": 0.03,
        "training.scheduler": "one-cycle",
        "training.warmup_epochs": 0,
        "training.precision": "fp32",
        "data.phantom.num_cases": 12,
        "data.phantom.size": 32,
    }
    config = Path(__file__).parents[1] / "configs" / "quickstart.yaml"
    result = train(load_config(config, [f"{key}={value}" for key, value in settings.items()]))
    evaluate(result.run_dir)
    return result.run_dir


@pytest.fixture(autouse=True)
def _no_handler_of_ended_children() -> Iterator[None]:
    """Take back the handler of SIGCHLD that PyTorch's loader leaves behind.

    On a virtual machine with AMX, Linux 6.18 could not deliver a handled signal to a process that
    had computed in eight bits before, and ended it; tests that start other programs met this.
    """
    yield
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


@pytest.fixture(scope="session")
def hippocampus() -> Path:
    """The folder of the hippocampus volumes; skips where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "hippocampus"
    folder = Path(os.environ.get("LUNET_TEST_DATA") or beside)
    if not (folder / "dataset.json").is_file():
        pytest.skip(f"no hippocampus volumes in {folder}; set LUNET_TEST_DATA to their folder")
    return folder


# First byte, width and number of the fields of a NIfTI header that have a byte order.
_NIFTI_FIELDS = (
    *((0, 4, 1), (32, 4, 1), (36, 2, 1), (40, 2, 8), (56, 4, 3), (68, 2, 4), (76, 4, 8)),
    *((108, 4, 3), (120, 2, 1), (124, 4, 4), (140, 4, 2), (252, 2, 2), (256, 4, 18)),
)


@pytest.fixture(scope="session")
def make_big_endian() -> Callable[[Path], None]:
    """Rewrite an uncompressed NIfTI file of this machine in the other byte order."""

    def rewrite(path: Path) -> None:
        content = bytearray(path.read_bytes())
        width = int.from_bytes(content[72:74], sys.byteorder) // 8
        for start, size, number in (*_NIFTI_FIELDS, (352, width, (len(content) - 352) // width)):
            part = np.frombuffer(content, np.uint8, size * number, start).reshape(number, size)
            content[start : start + size * number] = part[:, ::-1].tobytes()
        path.write_bytes(content)

    return rewrite


@pytest.fixture(scope="session")
def make_row() -> Callable[..., BenchRow]:
    """Make a row of a measurement with numbers as wide as any; `scale` multiplies its latency."""

    def make(
        arch: str, runtime: str, precision: str, *, scale: float, parameters: int = 5_340_889
    ) -> BenchRow:
        return BenchRow(
            arch=arch,
            source=None,
            mode="forward",
            input_shape=(1, 1, 64, 64, 64),
            out_channels=1,
            runtime=runtime,
            precision=precision,
            device="cpu",
            num_threads=2,
            parameters=parameters,
            macs=102_107_185_152,
            flops=204_214_370_304,
            ptflops_macs=102_407_185_152,
            size_on_disk_bytes=21_463_719,
            activation_mib=1234.5,
            latency_ms=Latency(12_345.6 * scale, 1_234.5 * scale, 23_456.7 * scale),
            num_runs=10,
            throughput_per_s=0.0812 / scale,
            gflop_per_s=1_654.2 / scale,
            peak_share=0.987,
            bandwidth_share=0.123,
            peak_memory_mib=14_321.0,
            energy_j=None,
            ratio=scale,
        )

    return make


@pytest.fixture(scope="session")
def pruning_steps() -> Callable[..., tuple[PruningStep, ...]]:
    """Steps of a pruning of two layers that loses a channel of the wider one each time.

    It takes how far the Dice of each step lies above that of the network before pruning; cases
    differ from each other by far more, and from step to step by `noise`.
    """

    def make(*gains: float, num_cases: int = 12, noise: float = 0.0) -> tuple[PruningStep, ...]:
        steps = []
        for number, gain in enumerate((0.0, *gains)):
            dice = {}
            for case in range(num_cases):
                sign = (-1) ** (case + number)
                dice[f"case_{case:02d}"] = 0.6 + 0.02 * case + gain + sign * noise * (number > 0)
            removed: tuple[RemovedChannel, ...] = ()
            before = math.nan
            if number:
                removed = (RemovedChannel("encoders.1.0", 8 - number, 0.25),)
                before = 0.5
            steps.append(
                PruningStep(
                    step=number,
                    removed=removed,
                    parameters=1000 - 100 * number,
                    flops=2_000_000_000 - 100_000_000 * number,
                    val_loss_before=before,
                    val_dice_before=before,
                    val_loss=0.25,
                    val_dice=sum(dice.values()) / num_cases,
                    seconds=1.5,
                    dice_per_case=dice,
                    widths={"encoders.0.0": 4, "encoders.1.0": 8 - number},
                )
            )
        return tuple(steps)

    return make


class TrialWriter:
    """Writes the files of trials of a study that have finished, as far as findings need them."""

    def __init__(self, write_manifest: WriteManifest) -> None:
        self._write_manifest = write_manifest

    def training(self, trial: Any, dice: float, cases: dict[str, float]) -> None:
        """A training of `lunet_small_1f`; without cases, nobody has measured them."""
        self._write_end(trial, dice)
        self._write_manifest(trial.folder.path, train=("t",), val=("a", "b", "c"))
        if cases:
            trial.folder.write_validation_cases(7, cases)

    def pruning(self, trial: Any, steps: list[tuple[int, int, tuple[float, float, float]]]) -> None:
        """A pruning of `encoders.1.0`: parameters, its channels, and Dice of a, b, c at each step.

        A layer that is protected is wider.
        """
        written = []
        for number, (parameters, width, dice) in enumerate(steps):
            step = PruningStep(
                step=number,
                removed=(),
                parameters=parameters,
                flops=parameters * 1000,
                val_loss_before=math.nan,
                val_dice_before=math.nan,
                val_loss=0.5,
                val_dice=sum(dice) / 3,
                seconds=1.0,
                dice_per_case=dict(zip("abc", dice, strict=True)),
                widths={"encoders.0.0": 2, "encoders.1.0": width, "upsamples.0": 99},
            )
            written.append(step)
        self._write_end(trial, 0.5)
        trial.folder.write_pruning(written)

    def _write_end(self, trial: Any, dice: float) -> None:
        from lunet_cli.records.training_summary import TrainingSummary
        from lunet_cli.results.training import EpochRecord

        trial.folder.path.mkdir(parents=True)
        trial.folder.best.touch()
        trial.folder.write_config(trial.config)
        summary = TrainingSummary(
            outcome="finished",
            architecture="lunet_small_1f",
            num_parameters=686,
            num_epochs=9,
            best=EpochRecord(7, 0.5, 0.5, dice, {"liver": dice}, 0.01, 1.0),
            metrics=(),
            latency_ms=None,
        )
        trial.folder.write_summary(summary)


@pytest.fixture
def write_trial(write_manifest: WriteManifest) -> TrialWriter:
    """Write trials of a study without running them."""
    return TrialWriter(write_manifest)


class WriteStudied(Protocol):
    def __call__(
        self, run: Any, dice: dict[str, float], *, parameters: int = 686, flops: int = 10**9
    ) -> None: ...


@pytest.fixture(scope="session")
def write_studied() -> WriteStudied:
    """Write a training of a study that has ended and was measured, without running it."""

    def write(
        run: Any, dice: dict[str, float], *, parameters: int = 686, flops: int = 10**9
    ) -> None:
        from lunet_cli.config.metrics import METRICS
        from lunet_cli.engine.evaluation.summary import summarize
        from lunet_cli.records.evaluation import write_evaluation
        from lunet_cli.records.files import sha256_of
        from lunet_cli.records.training_summary import TrainingSummary
        from lunet_cli.results.evaluation import (
            Bootstrap,
            CaseScore,
            EvalResult,
            EvaluatedCases,
            EvaluatedModel,
            EvaluationFacts,
        )

        folder, architecture = run.folder, run.config.model.architecture
        folder.path.mkdir(parents=True)
        folder.best.write_bytes(run.name.encode())
        folder.write_config(run.config)
        summary = TrainingSummary(
            outcome="finished",
            architecture=architecture,
            num_parameters=parameters,
            num_epochs=run.config.training.epochs,
            best=None,
            metrics=(),
            latency_ms=None,
        )
        folder.write_summary(summary)
        # Two labels, whose mean is the Dice of the case.
        scores: list[CaseScore] = []
        for case, value in dice.items():
            for label, off in (("liver", -0.1), ("spleen", 0.1)):
                values = dict.fromkeys(map(str, METRICS), value + off)
                scores.append(CaseScore(case, label, values, 1.0, 1.0))
        execution = {"runtime": "torch", "device": "cpu", "precision": "fp32"}
        model = EvaluatedModel(
                               (str(folder.best),), (sha256_of(folder.best),), architecture,
                               parameters, flops, (1, 1), execution, None, 0.5, False)  # fmt: skip
        facts = EvaluationFacts(
            model=model,
            data=EvaluatedCases("data", "pairs", "val", "val cases of data"),
            labels={"liver": (1,), "spleen": (2,)},
            num_cases=len(dice),
            nsd_tolerance_mm=1.0,
            undefined_distances="left out",
            bootstrap=Bootstrap(9999, 0, "95 % percentile, over cases"),
            versions={"lunet": "test"},
        )
        result = EvalResult(
            title=architecture,
            scores=tuple(scores),
            summaries=summarize(scores, metrics=tuple(METRICS)),
            failures=(),
            facts=facts,
            folder=folder.evaluation("val"),
        )
        write_evaluation(result, tuple(METRICS))

    return write
