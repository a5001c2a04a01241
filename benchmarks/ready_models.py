"""Make the models that lunet ships from finished trainings, and measure them.

python benchmarks/ready_models.py RUN... [--data FOLDER] [--recommended 4f] [--output FOLDER]

Each run has trained a network `lunet_small_Nf` on the 160 training cases of the hippocampus data,
by the `splits.json` beside them. The model `hippocampus-mri-Nf` holds its weights and its recipe,
without the state of the training and without places of this machine. Its Dice is measured anew, on
the 40 validation cases, in fp32 on the CPU; a test measures it again. Then `python
docs/reference.py` writes the page of the documentation.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path

from lunet_cli.config.options import EvaluationOptions, PredictionOptions
from lunet_cli.engine.checkpoints.keeping import keep_model
from lunet_cli.engine.evaluation.evaluate import evaluate
from lunet_cli.engine.inference.load_model import load_model
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.errors import LunetError
from lunet_cli.records.manifest import Manifest
from lunet_cli.records.model_folder import PAGE_SUFFIX, SHIPPED, WEIGHTS_SUFFIX
from lunet_cli.records.model_page import DataSource, MeasuredDice, ModelPage, Statement

FAMILY = "hippocampus-mri"
DATA = Path(__file__).parents[1].parent / "shared" / "data" / "hippocampus"
STATEMENT = Statement(
    title="anterior and posterior hippocampus in T1-weighted MRI",
    expects="a T1-weighted MRI cropped around one hippocampus, about 36 x 50 x 36 mm at 1 mm",
    intended_use="research and teaching: as a first result, a start for own trainings, a reference "
    "for comparisons",
    limits=(
        "Not for whole-brain MRI: it has seen crops only, and what it marks elsewhere in a brain "
        "means nothing. Crop around each hippocampus first.",
        "Other spacings than 1 mm are not resampled: resample before.",
        "Trained and validated on one data set of one centre; other scanners, sequences, ages and "
        "lesions have not been tried.",
        "The best epoch was chosen by the same validation cases that its Dice is told for, which "
        "flatters by a little.",
    ),
    licence="CC-BY-SA 4.0, as the data; see LICENSE beside the weights",
    data=DataSource(
        name="Medical Segmentation Decathlon, Task04_Hippocampus",
        origin="Vanderbilt University Medical Center",
        licence="CC-BY-SA 4.0",
        licence_url="https://creativecommons.org/licenses/by-sa/4.0/",
        citation="Antonelli et al., The Medical Segmentation Decathlon, "
        "Nature Communications 13, 4128 (2022)",
        num_training=160,
        num_validation=40,
    ),
)


def main() -> None:
    arguments = _parser().parse_args()
    try:
        for run in arguments.runs:
            page = make(run, arguments.data, arguments.output, arguments.recommended)
            print(f"{page.identity}: {page.num_bytes:,} bytes, {page.dice}")
    except LunetError as error:
        sys.exit("\n".join([*error.lines, error.hint]))


def make(run: Path, data: Path, output: Path, recommended: str) -> ModelPage:
    """Write the two files of a run's model.

    Raises:
        LunetError: The run, the data or the folder cannot be used.
    """
    manifest = _manifest_of(run, data)
    size = re.fullmatch(r"lunet_small_(\d+f)", manifest.architecture)
    if size is None:
        raise LunetError(f"{run}: is a {manifest.architecture}, not a lunet_small_Nf")
    name = f"{FAMILY}-{size[1]}"
    # Aside: what is there already stays until all is known of the new one.
    with tempfile.TemporaryDirectory(dir=output, prefix=".") as folder:
        kept = keep_model(run, Path(folder), name)
        options = PredictionOptions(device="cpu", precision="fp32")
        found = evaluate(
            load_model(kept.weights, options=options),
            data=data,
            split="val",
            options=EvaluationOptions(metrics=("dice",)),
            write=False,
        )
        if found.failures:
            raise LunetError(f"{found.failures[0].case}: {found.failures[0].message}")
        on = f"the {found.facts.num_cases} validation cases, in fp32 on a CPU"
        facts = {
            "also_called": FAMILY if size[1] == recommended else None,
            "version": _version(output / f"{name}{PAGE_SUFFIX}", kept.page.sha256),
            "dice": MeasuredDice.of(found.summaries, on),
            "statement": STATEMENT,
        }
        page = kept.page.model_copy(update=facts)
        kept.weights.replace(output / kept.weights.name)
    page.write(output / f"{name}{PAGE_SUFFIX}")
    return page


def _manifest_of(run: Path, data: Path) -> Manifest:
    """What a run was made of; its cases are those of the shared split.

    Raises:
        LunetError: They are not, or the statements on data would not be true.
    """
    manifest = RunFolder(run).read_manifest()
    if manifest is None or manifest.git_commit is None:
        raise LunetError(f"{run}: does not say of which commit it was trained")
    split = json.loads((data / "splits.json").read_text(encoding="utf-8"))[0]
    for side, cases in (("train", manifest.split.train), ("val", manifest.split.val)):
        if sorted(cases) != sorted(split[side]):
            raise LunetError(f"{run}: its {side} cases are not those of {data / 'splits.json'}")
    told = json.loads((data / "dataset.json").read_text(encoding="utf-8"))
    stated = STATEMENT.data
    if (told["licence"], told["reference"]) != (stated.licence, stated.origin):
        raise LunetError(f"{data}: has the licence {told['licence']} of {told['reference']}")
    sides = (len(manifest.split.train), len(manifest.split.val))
    if sides != (stated.num_training, stated.num_validation):
        raise LunetError(f"{run}: has {sides[0]} training and {sides[1]} validation cases")
    return manifest


def _version(path: Path, sha256: str) -> int:
    """The version of a model that is there, and the next one where the weights are others."""
    if not path.exists():
        return 1
    before = ModelPage.read(path)
    return before.version + (before.sha256 != sha256)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        epilog=f"Files of a model: NAME{WEIGHTS_SUFFIX} and NAME{PAGE_SUFFIX}.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--data", type=Path, default=DATA, help="the hippocampus data")
    parser.add_argument("--recommended", default="4f", help="the size that has the short name")
    parser.add_argument("--output", type=Path, default=SHIPPED, help="the folder of the models")
    return parser


if __name__ == "__main__":
    main()
