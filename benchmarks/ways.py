"""Dice of a trained network on its validation cases, in each way it can be used.

    python benchmarks/ways.py RUN FOLDER

RUN is a run folder. The exports and the masks of the script of docs/export.md, which runs in a
process of its own, go to FOLDER. Printed are the mean Dice over cases and labels of each way, and
of the masks with those of `predict`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch

from lunet_cli.config.options import ExportOptions, PredictionOptions
from lunet_cli.engine.checkpoints.models import Model, load_model
from lunet_cli.engine.data.cases import Case, CaseSet
from lunet_cli.engine.evaluation.overlap import dice
from lunet_cli.engine.exporting.export import export
from lunet_cli.engine.inference.labelled_cases import select_cases
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.engine.provenance import machine_name, versions
from lunet_cli.engine.runtimes.exported_graph import Forward
from lunet_cli.engine.runtimes.runtime import RuntimePlan, load_runtime

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "export.md"
Masks = list[np.ndarray[Any, Any]]
_NUM_CASES = 8


def by_predict(model: Model, case_set: CaseSet, cases: tuple[Case, ...], **options: Any) -> Masks:
    predictor = Predictor([model], PredictionOptions(device="cpu", precision="fp32", **options))
    return [predictor.segment(case_set.reader(case)[0]).label_map() for case in cases]


def by_script(network: Path, cases: tuple[Case, ...], folder: Path) -> Masks:
    script = folder / "use.py"
    script.write_text(
        GUIDE.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    )
    masks = []
    for case in cases:
        target = folder / f"{case.case_id}.nii.gz"
        subprocess.run([sys.executable, script, network, target, *case.images], check=True)
        masks.append(sitk.GetArrayFromImage(sitk.ReadImage(str(target))))
    return masks


def of_graph(network: Path) -> Forward:
    import onnxruntime

    session = onnxruntime.InferenceSession(network)
    return lambda image: torch.from_numpy(session.run(["logits"], {"image": image.numpy()})[0])


def of_network(model: Model) -> Forward:
    return load_runtime(RuntimePlan("eager", "cpu", "fp32"), model.network)


def in_one_piece(
    forward: Forward, model: Model, case_set: CaseSet, cases: tuple[Case, ...]
) -> Masks:
    """As a stranger would do it: normalise, then call the network or graph once on the volume."""
    labels, masks = model.card.labels, []
    for case in cases:
        image, placement = model.card.preprocessing.apply(case_set.reader(case)[0])
        assert not placement.is_resampled
        with torch.inference_mode():
            logits = forward(torch.from_numpy(image.whole()[None]))
        array = np.zeros(placement.stored.size, np.uint8)
        for mask, value in zip(
            labels.decode(logits)[0].numpy(), labels.painted_values().values(), strict=True
        ):
            placement.orient(array)[mask] = value
        masks.append(array)
    return masks


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    run, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True)
    model = load_model(run)
    selected = select_cases(model, None, "val")
    case_set, cases, origin = selected.case_set, selected.cases[:_NUM_CASES], selected.origin
    references = [sitk.GetArrayFromImage(case_set.reader(case)[1]) for case in cases]
    onnx = export(run, ExportOptions(format="onnx", output=folder / "model.onnx")).files[0]
    openvino = export(run, ExportOptions(format="openvino", output=folder / "model.xml")).files[0]
    options = ExportOptions(format="torch-export", output=folder / "model.pt2")
    program = export(run, options).files[0]
    ways: dict[str, Callable[[], Masks]] = {
        "predict": lambda: by_predict(model, case_set, cases),
        "predict --window whole": lambda: by_predict(model, case_set, cases, window="whole"),
        "predict model.onnx": lambda: by_predict(load_model(onnx), case_set, cases),
        "predict model.xml (OpenVINO)": lambda: by_predict(load_model(openvino), case_set, cases),
        "predict model.pt2": lambda: by_predict(load_model(program), case_set, cases),
        "script of docs/export.md": lambda: by_script(onnx, cases, folder),
        "one call of the ONNX graph": lambda: in_one_piece(of_graph(onnx), model, case_set, cases),
        "one call of the network itself": lambda: in_one_piece(
            of_network(model), model, case_set, cases
        ),
    }
    values = list(model.card.labels.painted_values().values())
    print(re.sub(r"\s+", " ", f"{machine_name()}, {versions()}, {len(cases)} of {origin}"))
    expected = ways["predict"]()
    for name, compute in ways.items():
        masks = compute()
        scores = [
            dice(m == v, r == v) for m, r in zip(masks, references, strict=True) for v in values
        ]
        same = [dice(m == v, e == v) for m, e in zip(masks, expected, strict=True) for v in values]
        print(f"{name:32} {np.mean(scores):.4f} {np.mean(same):.5f}", flush=True)


if __name__ == "__main__":
    main()
