"""Tests of the combinations of features themselves."""

from __future__ import annotations

from conformance.combinations import Outcomes, covering_combinations, pairs, possible_pairs

FEATURES = {
    "bits": (8, 16, 32),
    "channels": (1, 3, 4),
    "compression": ("none", "lzw"),
    "tiled": (False, True),
}


def test_every_possible_pair_is_covered_by_few_combinations() -> None:
    chosen = covering_combinations(FEATURES)
    assert {pair for each in chosen for pair in pairs(each)} == possible_pairs(FEATURES)
    assert 9 <= len(chosen) < 18


def test_combinations_that_do_not_exist_are_left_out() -> None:
    def exists(combination: dict[str, object]) -> bool:
        return combination["bits"] != 32 or combination["compression"] == "none"

    chosen = covering_combinations(FEATURES, exists, at_least=20)
    assert len(chosen) == 20
    assert all(map(exists, chosen))
    assert {pair for each in chosen for pair in pairs(each)} == possible_pairs(FEATURES, exists)


def test_a_table_tells_values_that_are_read_from_those_that_are_refused() -> None:
    outcomes = Outcomes("Made up")
    outcomes.add({"bits": 8, "alpha": "no"}, "read")
    outcomes.add({"bits": 16, "alpha": "yes"}, "refused")
    outcomes.add({"bits": 8, "alpha": "yes"}, "refused")
    outcomes.add({"bits": 4, "alpha": "no"}, "read")
    assert outcomes.table().splitlines()[2:] == [
        "| alpha | no | read |",
        "| alpha | yes | refused |",
        "| bits | 4, 8 | read |",
        "| bits | 16 | refused |",
    ]
    assert "4 files" in outcomes.summary(set())


def test_values_that_are_refused_only_together_are_told_from_those_always_refused() -> None:
    outcomes = Outcomes("Made up")
    for bits, colours in ((8, "grey"), (8, "RGB"), (12, "grey")):
        outcomes.add({"bits": bits, "colours": colours}, "read")
    outcomes.add({"bits": 12, "colours": "RGB"}, "refused")
    assert outcomes.table().splitlines()[2:] == [
        "| bits | 8 | read |",
        "| bits | 12 | read, or refused with other features |",
        "| colours | grey | read |",
        "| colours | RGB | read, or refused with other features |",
    ]
