"""The page at `/`: that of an export, whose scans are segmented by the service."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable
from pathlib import Path

from lunet_cli import __version__
from lunet_cli.config.options import ServeOptions
from lunet_cli.engine.exporting.browser.frame import (
    READERS,
    Computer,
    Page,
    as_text,
    channels_in_words,
    definitions,
    framed,
    scripts,
    spacing_in_words,
)
from lunet_cli.engine.serving.answers import ModelFacts
from lunet_cli.results.words import plural

_HERE = Path(__file__).parent


def render_page(models: Iterable[ModelFacts], options: ServeOptions) -> Page:
    """The page of a service.

    Args:
        models: Its models, of which a person takes one.
        options: What it bears.
    """
    models = tuple(models)
    computer = Computer(
        script=_read("service.js"),
        worker=f"{scripts(*READERS)}\n{_read('looking.js')}",
        markup=_HERE / "served.html",
        rules={"connect-src": "'self'"},
    )
    values = {
        "version": html.escape(__version__),
        "title": _title(models),
        "choice": _choice(models),
        "labels": _each(models, "span", _finds),
        "channels": _each(models, "span", _channels),
        "facts": _each(models, "div", _facts),
    }
    facts = {
        "models": [_for_scripts(model) for model in models],
        "maxQueue": options.max_queue,
        "maxBytes": round(options.max_upload_mib * 2**20),
    }
    return framed(computer, facts, values)


def _for_scripts(model: ModelFacts) -> dict[str, object]:
    return {
        "name": model.name,
        # Pairs, since an object of JavaScript puts names that are numbers in front.
        "labels": [*model.labels.items()],
        "activation": model.activation,
        "inChannels": model.channels,
    }


def _title(models: tuple[ModelFacts, ...]) -> str:
    if len(models) == 1:
        return as_text(models[0].name)
    return plural(len(models), "network")


def _choice(models: tuple[ModelFacts, ...]) -> str:
    """A choice of network; empty where there is none."""
    if len(models) == 1:
        return ""
    options = "".join(f"<option>{as_text(model.name)}</option>" for model in models)
    return f'<p><label>Network <select id="model">{options}</select></label></p>'


def _each(
    models: tuple[ModelFacts, ...], element: str, content: Callable[[ModelFacts], str]
) -> str:
    """What is said of each model, of which the chosen one's is shown."""
    parts = []
    for index, model in enumerate(models):
        parts.append(f'<{element} data-model="{index}">{content(model)}</{element}>')
    return "".join(parts)


def _finds(model: ModelFacts) -> str:
    return as_text(f"Finds {', '.join(model.labels)}.")


def _channels(model: ModelFacts) -> str:
    return channels_in_words(model.channels)


def _facts(model: ModelFacts) -> str:
    rows = [
        ("network", f"{model.name} ({model.architecture})"),
        ("labels", ", ".join(model.labels)),
        ("image", plural(model.channels, "channel")),
        ("orientation", model.orientation or "as stored"),
        ("voxel size", spacing_in_words(model.spacing_mm)),
        ("intensities", model.normalization),
        ("parameters", f"{model.parameters:,}"),
    ]
    warnings = "".join(f'<p class="warning">{as_text(text)}</p>' for text in model.warnings)
    return f'<dl class="facts">{definitions(rows)}</dl>{warnings}'


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
