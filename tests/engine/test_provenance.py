from __future__ import annotations

import platform
from pathlib import Path

from lunet_cli.engine.provenance import machine_name, sha256_of, versions


def test_machine_has_a_processor_and_what_it_can() -> None:
    processor, *more = machine_name().split(", ")
    assert processor
    assert more


def test_versions_are_those_of_this_process() -> None:
    assert versions()["python"] == platform.python_version()


def test_digest_of_the_standard(tmp_path: Path) -> None:
    """FIPS 180-2, appendix B.1: the message `abc`."""
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(path) == expected
