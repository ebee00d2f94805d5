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


def test_tiles_of_a_slice_are_summed_before_they_are_decided() -> None:
    members = MemberDecisions(independent=False)
    members.start(1, 2, (2, 1, 3))
    left, right = slice(0, 2), slice(1, 3)
    rows = slice(0, 1)
    members.add(0, (0, rows, left), torch.tensor([[[0.0, 2.0]], [[1.0, 0.0]]]))
    members.add(0, (0, rows, right), torch.tensor([[[0.0, 0.0]], [[3.0, 1.0]]]))  # 0 + 3 beats 2 + 0
    members.add(0, (1, rows, left), torch.tensor([[[1.0, 1.0]], [[0.0, 0.0]]]))
    members.finish((slice(None), slice(None), slice(None), slice(None)))
    assert members.stacked().tolist() == [[[[[1, 1, 1]], [[0, 0, 0]]]]]


def test_padding_is_cut_off_and_images_are_stacked() -> None:
    members = MemberDecisions(independent=True)
    for sign in (1.0, -1.0):
        members.start(2, 1, (1, 1, 4))
        tile = (0, slice(0, 1), slice(0, 4))
        members.add(0, tile, sign * torch.tensor([[[1.0, 1.0, -1.0, 1.0]]]))
        members.add(1, tile, sign * torch.tensor([[[1.0, 1.0, 1.0, 1.0]]]))
        members.finish((slice(None), slice(None), slice(None), slice(1, 3)))
    assert members.stacked()[:, 0, 0, 0].tolist() == [[1, 0], [1, 1], [0, 1], [0, 0]]


def test_starting_again_forgets() -> None:
    members = MemberDecisions(independent=False)
    members.start(1, 2, (1, 1, 1))
    members.add(0, (0, slice(0, 1), slice(0, 1)), torch.tensor([[[0.0]], [[9.0]]]))
    members.start(1, 2, (1, 1, 1))
    members.add(0, (0, slice(0, 1), slice(0, 1)), torch.tensor([[[1.0]], [[0.0]]]))
    members.finish((slice(None),) * 4)
    assert members.stacked().flatten().tolist() == [0]


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
