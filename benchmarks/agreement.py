"""How far the runtimes agree with PyTorch in fp32, on the validation cases of a trained network.

    python benchmarks/agreement.py RUN [FILE ...]

RUN is a run folder; each FILE is an export of it, such as an int8 one. Printed are the largest
difference of a probability, the Dice of the label maps of all cases together with those of fp32
(mean over labels), and the mean Dice with the references.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch

from lunet_cli.config.options import PredictionOptions
from lunet_cli.engine.checkpoints.models import Model, load_model
from lunet_cli.engine.evaluation.overlap import dice
from lunet_cli.engine.inference.labelled_cases import select_cases
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.engine.provenance import machine_name, versions
from lunet_cli.engine.runtimes.runtime import RuntimePlan, candidate_plans


def predict_all(
    model: Model, plan: RuntimePlan | None, cases_of: Model
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Probabilities and label maps of all validation cases."""
    options = PredictionOptions(device="cpu", precision="fp32")
    if plan is not None:
        options = PredictionOptions(device="cpu", precision=plan.precision, runtime=plan.runtime)
    predictor = Predictor([model], options)
    selected = select_cases(cases_of, None, "val")
    for case in selected.cases:
        channels, _ = selected.case_set.reader(case)
        shape = (len(model.card.labels.names), *reversed(channels[0].GetSize()))
        probabilities = np.zeros(shape, np.float32)
        yield probabilities, predictor.segment(channels, probabilities=probabilities).label_map()


def references(model: Model) -> list[np.ndarray]:
    selected = select_cases(model, None, "val")
    labels = [selected.case_set.reader(case)[1] for case in selected.cases]
    return [sitk.GetArrayFromImage(label) for label in labels]


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    model = load_model(Path(sys.argv[1]))
    labels = references(model)
    values = list(model.card.labels.painted_values().values())
    expected = list(predict_all(model, RuntimePlan("eager", "cpu", "fp32"), model))
    ways: list[tuple[str, Model, RuntimePlan | None]] = [
        (str(plan), model, plan) for plan in candidate_plans(model.network, "cpu", "auto")
    ]
    ways += [(path, load_model(Path(path)), None) for path in sys.argv[2:]]
    print(f"{machine_name()}, {torch.get_num_threads()} threads, {versions()}, {len(labels)} cases")
    for name, candidate, plan in [
        ("eager fp32 on cpu", model, RuntimePlan("eager", "cpu", "fp32")),
        *ways,
    ]:
        found = list(predict_all(candidate, plan, model))
        worst = max(
            float(np.abs(a - b).max()) for (a, _), (b, _) in zip(found, expected, strict=True)
        )
        ours, theirs = (
            np.concatenate([part.ravel() for _, part in parts]) for parts in (found, expected)
        )
        agreement = np.mean([dice(ours == value, theirs == value) for value in values])
        scores = [
            dice(p == value, r == value)
            for (_, p), r in zip(found, labels, strict=True)
            for value in values
        ]
        print(f"{name:40} {worst:.1e} {agreement:.5f} {np.mean(scores):.5f}", flush=True)


if __name__ == "__main__":
    main()
