"""The visual state space block, a pre-norm residual SS2D with stochastic depth, and stages of such blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from swin_umamba.modules.half_precision import call_layer, is_plain
from swin_umamba.modules.ss2d import SS2D
from swin_umamba.ops.linear import linear_gelu


class DropPath(nn.Module):
    """Stochastic depth: while training, zero a residual branch for whole samples.

    Parameters
    ----------
    drop_prob
        Probability in [0, 1) that a sample loses the branch. The kept samples are divided by
        ``1 - drop_prob``, so that the expectation does not change.

    References
    ----------
    Huang et al., "Deep Networks with Stochastic Depth", arXiv 1603.09382.
    """

    def __init__(self, drop_prob: float = 0.0) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, ...) to the same shape."""
        if self.drop_prob == 0.0 or not self.training:
            return x
        keep_prob = 1.0 - self.drop_prob
        mask = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep_prob)
        return x * (mask / keep_prob)

    def extra_repr(self) -> str:
        """Return the arguments that ``repr`` shows."""
        return f"drop_prob={self.drop_prob:.3f}"


class VSSBlock(nn.Module):
    """``x + DropPath(SS2D(LayerNorm(x)))``: the first-generation VMamba block, without an MLP.

    Parameters
    ----------
    dim
        Channels.
    drop_path
        Stochastic-depth probability.
    d_state
        Size of the hidden state of the scan.
    backend
        Name of the scan backend; None chooses by device.
    """

    def __init__(
        self, dim: int, *, drop_path: float = 0.0, d_state: int = 16, backend: str | None = None
    ) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(dim)
        self.self_attention = SS2D(dim, d_state, backend=backend)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, height, width, dim) to the same shape."""
        y: Tensor = x + self.drop_path(self.self_attention(self.ln_1(x)))
        return y


class MLP(nn.Module):
    """Two linear layers with a GELU between them.

    Parameters
    ----------
    dim
        Channels of the input and the output.
    ratio
        Channels between the layers, relative to ``dim``.
    """

    def __init__(self, dim: int, ratio: int = 4) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, ratio * dim)
        self.fc2 = nn.Linear(ratio * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., dim) to the same shape."""
        fc1 = self.fc1
        plain = type(fc1) is nn.Linear and is_plain(fc1)
        hidden = linear_gelu(x, fc1.weight, fc1.bias) if plain else F.gelu(fc1(x))
        return call_layer(self.fc2, hidden)


class VSSBlockV2(nn.Module):
    """The block of VMamba's second generation: SS2D without gate, then an MLP, each a pre-norm residual.

    Parameters
    ----------
    dim
        Channels.
    drop_path
        Stochastic-depth probability of each of the two branches.
    d_state
        Size of the hidden state of the scan.
    ratio
        Channels of the scan relative to ``dim``.
    backend
        Name of the scan backend; None chooses by device.

    References
    ----------
    Liu et al., "VMamba: Visual State Space Model", arXiv 2401.10166, section 4.3 (version 3).
    """

    def __init__(
        self,
        dim: int,
        *,
        drop_path: float = 0.0,
        d_state: int = 1,
        ratio: int = 1,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.op = SS2D(dim, d_state, expansion=ratio, gated=False, conv_bias=False, backend=backend)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, height, width, dim) to the same shape."""
        x = x + self.drop_path(self.op(self.norm(x)))
        y: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return y


class VSSLayer(nn.Module):
    """One stage: blocks in sequence.

    Parameters
    ----------
    dim
        Channels.
    drop_path
        Stochastic-depth probability of each block; the length is the number of blocks.
    block
        Class of the blocks, or a function that builds one: called as ``block(dim, drop_path=...,
        **arguments)``.
    activation_checkpointing
        Keep only the input of each block while training and recompute the rest in the backward pass.
    **arguments
        Further arguments of the blocks.
    """

    def __init__(
        self,
        dim: int,
        drop_path: Sequence[float],
        *,
        block: Callable[..., nn.Module] = VSSBlock,
        activation_checkpointing: bool = False,
        **arguments: Any,
    ) -> None:
        super().__init__()
        self.activation_checkpointing = activation_checkpointing
        self.blocks = nn.ModuleList(block(dim, drop_path=rate, **arguments) for rate in drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, height, width, dim) to the same shape."""
        for block in self.blocks:
            if self.activation_checkpointing and self.training:
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return x
