"""The loop that draws views, lets them go on, and gives them keys."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator

import pytest
from rich.console import Console, RenderableType

from lunet_cli.cli.viz import interaction
from lunet_cli.render.terminal.screen import Screen


class Recorder:
    """A view that says what happened to it, and changes by itself once."""

    def __init__(self) -> None:
        self.happened: list[str] = []
        self.is_over = False

    def draw(self, screen: Screen) -> RenderableType:
        self.happened.append("draw")
        return "picture"

    def advance(self) -> bool:
        is_first = "advance" not in self.happened
        self.happened.append("advance")
        return is_first

    def press(self, key: str) -> None:
        self.happened.append(key)
        self.is_over = key == "q"


def keys_of(*presses: list[str]) -> Callable[[], contextlib.AbstractContextManager[object]]:
    @contextlib.contextmanager
    def listen() -> Iterator[Callable[[], list[str]]]:
        waiting = iter(presses)

        def wait() -> list[str]:
            for pressed in waiting:
                return pressed
            raise EOFError

        yield wait

    return listen


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=80, height=24, force_terminal=True, _environ={})


def test_it_is_drawn_before_what_is_due_and_once_after_several_keys(
    monkeypatch: pytest.MonkeyPatch, console: Console
) -> None:
    monkeypatch.setattr(interaction, "listening", keys_of([], ["left", "left"], ["q"]))
    view = Recorder()
    interaction.interact(view, console)
    assert view.happened == [
        *("draw", "advance", "draw", "advance"),  # it has changed by itself
        "advance",  # no key was pressed
        *("left", "left", "draw", "advance"),
        "q",
    ]


def test_it_ends_when_nobody_can_press_a_key_any_more(
    monkeypatch: pytest.MonkeyPatch, console: Console
) -> None:
    monkeypatch.setattr(interaction, "listening", keys_of())
    view = Recorder()
    interaction.interact(view, console)
    assert not view.is_over


def test_what_is_over_is_not_drawn(monkeypatch: pytest.MonkeyPatch, console: Console) -> None:
    monkeypatch.setattr(interaction, "listening", keys_of())
    view = Recorder()
    view.is_over = True
    interaction.interact(view, console)
    assert view.happened == []
