"""The networks of the comparison by name."""

from __future__ import annotations

import pytest
import torch

from swin_umamba.baselines.conv_twin import SwinUMambaDConv
from swin_umamba.compare.networks import NETWORKS, find_network, require_packages
from swin_umamba.compare.recipe import NNUNET
from swin_umamba.errors import UsageError


def test_unknown_names_get_a_hint() -> None:
    with pytest.raises(UsageError, match="did you mean umamba_bot"):
        find_network("umamba_bto")


@pytest.mark.parametrize("name", [name for name in NETWORKS if not NETWORKS[name].needs_monai])
def test_strides_give_the_sizes_of_the_heads(name: str) -> None:
    network = NETWORKS[name]
    strides = torch.tensor(network.entry((64, 96), (1.0, 1.0))["arch_kwargs"]["strides"])
    heads = network.build(1, 2, (64, 96), device="meta")(torch.empty(1, 1, 64, 96, device="meta"))
    sizes = torch.tensor([64, 96]) // strides.cumprod(0)[:-1]
    assert [list(head.shape[-2:]) for head in heads] == sizes.tolist()


def test_the_twin_has_the_strides_of_its_original() -> None:
    original, twin = (
        NETWORKS[name].entry((64, 64), (1.0, 1.0)) for name in ("swin_umamba_d", "swin_umamba_d_conv")
    )
    assert original["arch_kwargs"] == twin["arch_kwargs"]
    assert twin["network_class_name"].endswith(SwinUMambaDConv.__name__)


def test_nnformer_says_that_its_width_is_a_choice() -> None:
    network = find_network("nnformer")
    assert network.supervises_deeply
    assert network.recipe == NNUNET
    assert "stand-in" in network.title
    assert "our choice" in network.note
    # Published with a loss at 1, 1/2 and 1/4 of the resolution, whatever the patch.
    for patch in ((64, 64), (36, 100)):
        assert network.entry(patch, (1.0, 1.0))["arch_kwargs"]["strides"][:3] == [[1, 1], [2, 2], [2, 2]]


def test_monai_is_asked_for_only_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "monai.networks.nets", None)
    require_packages([NETWORKS["nnunet"]])
    with pytest.raises(UsageError, match=r"swin-umamba\[compare\]"):
        require_packages([NETWORKS["nnunet"], NETWORKS["unetr"]])
