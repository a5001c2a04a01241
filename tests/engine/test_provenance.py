from __future__ import annotations

import platform

from lunet_cli.engine.provenance import machine_name, versions


def test_machine_has_a_processor_and_what_it_can() -> None:
    processor, *more = machine_name().split(", ")
    assert processor
    assert more


def test_versions_are_those_of_this_process() -> None:
    assert versions()["python"] == platform.python_version()
