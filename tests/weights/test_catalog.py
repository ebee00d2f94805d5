from __future__ import annotations

import re
from dataclasses import FrozenInstanceError

import pytest

from swin_umamba.errors import UsageError
from swin_umamba.weights.catalog import BACKBONES, CATALOG, backbone_of_weights, find_record


def test_both_public_generations_are_there() -> None:
    assert {name: record.file_name for name, record in CATALOG.items()} == {
        "vmamba_tiny_v0cls": "vssmtiny_dp01_ckpt_epoch_292.pth",
        "vmamba_tiny_e292": "vmamba_tiny_e292.pth",
        "vmamba_tiny_s1l8_v2cls": "vssm1_tiny_0230s_ckpt_epoch_264.pth",
        "vmamba_tiny_s2l5_v2cls": "vssm_tiny_0230_ckpt_epoch_262.pth",
        "vmamba_small_s2l15_v2cls": "vssm_small_0229_ckpt_epoch_222.pth",
        "vmamba_small_s1l20_v2cls": "vssm1_small_0229s_ckpt_epoch_240.pth",
        "vmamba_base_s2l15_v2cls": "vssm_base_0229_ckpt_epoch_237.pth",
        "vmamba_base_s1l20_v2cls": "vssm1_base_0229s_ckpt_epoch_225.pth",
    }
    assert {backbone_of_weights(name).name for name in CATALOG} == set(BACKBONES)


@pytest.mark.parametrize("name", CATALOG)
def test_a_record_is_whole(name: str) -> None:
    record = find_record(name)
    assert record.name == name
    assert len(record.mean) == len(record.std) == record.in_channels == 3
    assert record.licence
    assert record.top1 is None or 80 < record.top1 < 90
    assert record.note
    assert record.source.startswith("https://")
    assert record.url is None or record.url.startswith("https://")
    assert record.url is None or record.url.endswith("/" + record.file_name)
    assert record.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", record.sha256)
    # 22,893,448 parameters of four bytes.
    assert record.size is None or 91_573_792 < record.size < 1.01 * 91_573_792
    with pytest.raises(FrozenInstanceError):
        record.url = None  # type: ignore[misc]


def test_a_misspelt_name_is_refused_with_the_close_one() -> None:
    with pytest.raises(UsageError, match="'vmamba_tiny_v0'") as caught:
        find_record("vmamba_tiny_v0")
    assert "did you mean vmamba_tiny_v0cls" in str(caught.value.hint)
