"""Options that are declared once."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import pytest

from swin_umamba.errors import UsageError
from swin_umamba.options import Options, declared_options, option, options_as_keywords


@dataclass(frozen=True)
class Stored(Options):
    epochs: int = option(10, "number of epochs", may_change=True)
    seed: int | None = option(None, "seed", in_environment=True)
    workers: int = option(2, "processes", may_change=True)
    size: tuple[int, int] | None = option(None, "height and width", flags=())


def test_what_may_change_is_taken_over() -> None:
    stored = Stored(seed=3)
    assert stored.continued_with({"workers": 0, "seed": 3}) == Stored(10, 3, 0)
    assert stored.continued_with({}) == stored
    assert stored == Stored(10, 3, 2)


def test_all_contradictions_are_named() -> None:
    with pytest.raises(UsageError) as caught:
        Stored().continued_with({"workers": 0, "seed": 3, "size": (1, 2)})
    assert "seed is 3 but the run was started with None; size is (1, 2)" in caught.value.what
    assert caught.value.hint is not None
    assert caught.value.hint.endswith("what may change is: epochs, workers")


def test_declarations() -> None:
    epochs, seed, workers, size = declared_options(Stored)
    assert (epochs.name, epochs.type, epochs.default, epochs.flags) == ("epochs", int, 10, ("--epochs",))
    assert (seed.type, seed.in_environment, workers.may_change) == (int, True, True)
    assert (size.type, size.flags) == (tuple[int, int], ())


def test_storage_restores_tuples_and_ignores_the_unknown() -> None:
    stored = Stored(size=(3, 4)).as_dict()
    assert stored["size"] == [3, 4]
    assert Stored.from_stored(stored | {"of_another_version": 1}) == Stored(size=(3, 4))


def test_keywords_become_options_that_know_what_was_given() -> None:
    @options_as_keywords(Stored)
    def run(name: str, options: Stored) -> tuple[str, Stored]:
        return name, options

    name, options = run("a", epochs=10, seed=3)
    assert (name, options) == ("a", Stored(seed=3))
    assert options.given == {"epochs": 10, "seed": 3}
    assert Stored(seed=3).given == {}
    assert str(inspect.signature(run)).startswith("(name: 'str', *, epochs: 'int' = 10, seed: 'int | None'")
    with pytest.raises(TypeError, match="epoch"):
        run("a", epoch=3)  # type: ignore[call-arg]
