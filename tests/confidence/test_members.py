from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from swin_umamba.confidence.members import MemberDecisions, agreement, decide
from swin_umamba.evaluation.metrics import dice


def test_classes_are_decided_by_the_largest_logit_and_regions_by_the_sign() -> None:
    logits = torch.tensor([[1.0, -2.0], [3.0, -1.0], [2.0, -3.0]])
    assert decide(logits, independent=False).tolist() == [[1, 1]]
    assert decide(logits, independent=True).tolist() == [[1, 0], [1, 0], [1, 0]]
    assert torch.equal(decide(logits * 7, independent=False), decide(logits, independent=False))


def test_more_classes_than_a_byte_holds() -> None:
    logits = torch.zeros(300, 1)
    logits[299] = 1
    assert decide(logits, independent=False).tolist() == [[299]]


def test_rows_run_through_all_slices_or_are_slices() -> None:
    logits = torch.randn(3, 8, 5)  # of the rows 3 to 11 of two slices of 6 rows
    members = MemberDecisions(independent=False)
    members.start(2, 3, (2, 6, 5))
    members.add(1, slice(3, 11), logits)
    found = members.stacked()
    assert found.shape == (2, 1, 2, 6, 5)
    assert torch.equal(found[1, 0].flatten(0, 1)[3:11], logits.argmax(0).to(torch.uint8))
    assert found[0].sum() == found[1, 0, 0, :3].sum() == found[1, 0, 1, 5:].sum() == 0
    volume = MemberDecisions(independent=False)
    volume.start(1, 3, (4, 2, 5))
    volume.add(0, slice(1, 3), logits[:, :4].reshape(3, 2, 2, 5))
    assert torch.equal(volume.stacked()[0, 0, 1:3].flatten(), found[1, 0].flatten(0, 1)[3:7].flatten())


def test_regions_are_decided_each_by_itself() -> None:
    members = MemberDecisions(independent=True)
    members.start(1, 2, (1, 1, 2))
    members.add(0, slice(0, 1), torch.tensor([[[1.0, -1.0]], [[2.0, 0.0]]]))
    assert members.stacked()[0, :, 0, 0].tolist() == [[1, 0], [1, 0]]


def test_starting_again_forgets() -> None:
    members = MemberDecisions(independent=False)
    for _ in range(2):
        members.start(1, 2, (1, 1, 1))
        assert members.stacked().sum() == 0
        members.add(0, slice(0, 1), torch.tensor([[[0.0]], [[9.0]]]))


def test_agreement_does_not_depend_on_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = torch.from_numpy(np.random.default_rng(2).integers(0, 3, size=(3, 1, 7, 11)).astype(np.uint8))
    whole = agreement(maps, 3)
    monkeypatch.setattr("swin_umamba.confidence.members.PIXELS_AT_ONCE", 5)
    assert agreement(maps, 3) == whole


def labelled(*members: list[int]) -> Tensor:
    return torch.tensor(members, dtype=torch.uint8)[:, None]


def test_agreement_of_two_members_is_their_dice() -> None:
    random = np.random.default_rng(0)
    maps = random.integers(0, 4, size=(2, 1, 5, 6, 7)).astype(np.uint8)
    found = agreement(torch.from_numpy(maps), 4)
    expected = [dice(maps[0] == value, maps[1] == value) for value in (1, 2, 3)]
    assert found == pytest.approx(expected)


def test_agreement_of_several_is_the_dice_pooled_over_pairs() -> None:
    maps = np.random.default_rng(1).integers(0, 2, size=(5, 1, 400)).astype(np.uint8)
    pairs = list(itertools.combinations(maps[:, 0] == 1, 2))
    common = sum(2 * int((a & b).sum()) for a, b in pairs)
    sizes = sum(int(a.sum()) + int(b.sum()) for a, b in pairs)
    assert agreement(torch.from_numpy(maps), 2) == pytest.approx([common / sizes])


def test_agreement_at_its_ends() -> None:
    assert agreement(labelled([0, 1, 2], [0, 1, 2], [0, 1, 2]), 4) == [1.0, 1.0, None]
    assert agreement(labelled([1, 0, 0], [0, 1, 0], [0, 0, 1]), 2) == [0.0]


def test_agreement_of_regions() -> None:
    regions = torch.tensor([[[1, 1, 0], [0, 1, 0]], [[1, 1, 0], [1, 0, 0]]], dtype=torch.uint8)
    assert agreement(regions, 2) == [1.0, 0.0]
    assert agreement(torch.tensor([[[1, 1]], [[1, 0]]], dtype=torch.uint8), 1) == pytest.approx([2 / 3])


def test_one_member_has_nothing_to_agree_with() -> None:
    with pytest.raises(ValueError, match="a single ensemble member"):
        agreement(labelled([0, 1]), 2)
