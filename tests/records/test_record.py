"""One reader and one writer of named values."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
from pydantic import FailFast

from lunet_cli.errors import CheckpointError, DataError
from lunet_cli.records.record import (
    Record,
    compact_json,
    is_marked_as,
    json_text,
    parse_record,
    parse_values,
)
from lunet_cli.results.numbers import Undefinable


class Inner(Record):
    count: int
    value: Undefinable


class Sample(Record):
    what: ClassVar[str] = "a sample"
    written_by: ClassVar[str] = "A test writes it."

    format: str = "lunet sample 3"
    name: str
    share: float
    inner: Annotated[tuple[Inner, ...], FailFast()]


class MarkedSample(Sample):
    is_always_marked: ClassVar[bool] = True


SAMPLE = Sample(
    name="caf\u00e9", share=0.1, inner=(Inner(count=1, value=math.nan), Inner(count=2, value=0.5))
)
VALUES = {"name": "a", "share": 0.5, "inner": [{"count": 1, "value": 2}]}


def parse(values: Any, kind: type[Sample] = Sample) -> Sample:
    text = values if isinstance(values, str) else json.dumps(values)
    return parse_record(kind, text.encode(), "a/file")


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    SAMPLE.write(tmp_path / "file")
    found = Sample.read(tmp_path / "file")
    assert math.isnan(found.inner[0].value)
    assert found.model_dump(exclude={"inner"}) == SAMPLE.model_dump(exclude={"inner"})
    assert found.inner[1] == SAMPLE.inner[1]
    assert json.loads((tmp_path / "file").read_text(encoding="ascii"))["inner"][0] == {
        "count": 1,
        "value": None,
    }


def test_a_number_that_is_not_finite_is_null_wherever_it_stands() -> None:
    @dataclass
    class Plain:
        path: Path
        values: tuple[float, ...]

    plain = {
        "a": Plain(Path("x/y"), (math.nan, math.inf, -math.inf, 1.0)),
        "b": [None, True, {"c": math.nan}],
    }
    expected = {
        "a": {"path": "x/y", "values": [None, None, None, 1.0]},
        "b": [None, True, {"c": None}],
    }
    assert json.loads(json_text(plain)) == json.loads(compact_json(plain)) == expected
    with pytest.raises(TypeError, match="a set is not a value of JSON"):
        json_text({1, 2})


def test_names_of_files_that_are_not_utf_8_can_be_written_and_read() -> None:
    text = json_text({"path": Path("caf\udce9"), "caf\udce9": 1})
    assert json.loads(text) == {"path": "caf\\udce9", "caf\\udce9": 1}


def test_keys_that_are_not_known_are_passed_over() -> None:
    assert parse(VALUES | {"later": [1, 2]}) == parse(VALUES)


def test_numbers_of_nan_are_read_from_older_files() -> None:
    assert math.isnan(
        parse('{"name": "a", "share": 1, "inner": [{"count": 1, "value": NaN}]}').inner[0].value
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("", "is not valid JSON"),
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON .recursion limit"),
        ("[]", "is not a sample, but a list"),
        ("3", "is not a sample, but 3"),
        ({"share": 1}, "is not a sample: name is missing"),
        (VALUES | {"name": 3}, r"name: input should be a valid string \(found 3\)"),
        (VALUES | {"name": None}, "name: input should be a valid string .found None"),
        (VALUES | {"share": "0.5"}, "share: input should be a valid number .found '0.5'"),
        (VALUES | {"share": True}, "share: input should be a valid number .found True"),
        (VALUES | {"share": math.nan}, "share: input should be a finite number"),
        (VALUES | {"share": None}, "share: input should be a valid number"),
        (VALUES | {"inner": {}}, "inner: input should be a valid array .found keys and values"),
        (
            VALUES | {"inner": [{"count": 1.5, "value": 0}]},
            "inner.0.count: input should be a valid integer",
        ),
        (VALUES | {"inner": [{"count": 1}]}, "inner.0.value is missing"),
        (
            VALUES | {"name": ["\x1b[31m" * 100]},
            "name: input should be a valid string .found a list",
        ),
        (
            VALUES | {"format": "lunet sample 4"},
            "a sample has format 4 there, this lunet reads format 3",
        ),
        (VALUES | {"format": "lunet bench 3"}, "is not a sample"),
        (VALUES | {"format": 3}, "is not a sample"),
        (VALUES | {"format": None}, "is not a sample"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_damage_is_one_line_with_file_and_field(values: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"^a/file: .*{message}") as caught:
        parse(values)
    assert caught.value.hint
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 250


def test_a_file_without_a_mark_is_an_older_one_unless_its_kind_always_had_one() -> None:
    assert parse(VALUES).format == "lunet sample 3"
    with pytest.raises(DataError, match="is not a sample"):
        parse(VALUES, MarkedSample)


def test_kinds_are_told_apart_by_their_marks() -> None:
    assert is_marked_as(Sample, b'{"format": "lunet sample 9"}')
    for text in (b'{"format": "lunet bench 1"}', b'{"format": 9}', b"{", b"[]"):
        assert not is_marked_as(Sample, text)


def test_control_characters_of_a_file_do_not_reach_the_message() -> None:
    with pytest.raises(DataError) as caught:
        parse(VALUES | {"share": "\x1b[2J"})
    assert "\x1b" not in caught.value.message


def bomb() -> list[Any]:
    value: list[Any] = [1]
    for _ in range(30):
        value = [value] * 10
    return value


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inner": bomb()}, "holds too many values in each other"),
        ({"inner": LOOP}, "holds too many values in each other"),
        ({"inner": {1: 2}}, "inner: has the key 1, which is not text"),
        ({"name": b"bytes"}, "name: is a bytes, not a plain value"),
        (
            {"inner": [{"count": 1 << 64, "value": 0.0}]},
            "inner.0.count: is a number of more than 64 bits",
        ),
    ],
    ids=["bomb", "loop", "key", "bytes", "long"],
)
def test_values_of_other_files_are_plain(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=f"^a/file: is not a sample: .*{message}"):
        parse_values(Sample, VALUES | change, "a/file", error=CheckpointError)
    assert parse_values(Sample, VALUES, "a/file", error=CheckpointError) == parse(VALUES)
