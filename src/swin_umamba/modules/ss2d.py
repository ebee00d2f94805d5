"""The 2D selective scan layer (SS2D) of VMamba, the operator inside every VSS block."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swin_umamba.modules.half_precision import (
    Copies,
    call_with_copies,
    copies_for_autocast,
    copy_or_own,
    gated,
    is_plain,
)
from swin_umamba.modules.mamba import CHANNELS_PER_DT_RANK, EXPANSION, reset_scan
from swin_umamba.ops.depthwise_silu import depthwise_silu, use_depthwise_kernel
from swin_umamba.ops.gated_norm import gated_norm, use_gated_norm_kernel
from swin_umamba.ops.linear import linear, uses_onednn
from swin_umamba.ops.ss2d_scan import ss2d_scan

NUM_DIRECTIONS = 4
"""Row-major, column-major, and both reversed: the first axis of every stacked parameter, in this order."""


class SS2D(nn.Module):
    """2D selective scan: project, depthwise convolution, four directional scans, gate, project back.

    The activation stays channels-last from end to end. Each pixel is projected once to the parameters of
    all four directions; the scan itself walks the image, so no flipped or transposed copy exists.

    Parameters
    ----------
    d_model
        Channels of the input and the output.
    d_state
        Size N of the hidden state of each channel.
    expansion
        Channels of the scan relative to ``d_model``.
    gated
        Multiply the result of the scans by a second projection of the input, as the first generation of
        VMamba does; the second has none.
    conv_bias
        Whether the depthwise convolution has a bias.
    backend
        Name of the scan backend; None chooses by device (see ``swin_umamba.ops.backend``).

    Notes
    -----
    The projections run in the dtype of the input (half precision under autocast), the scan always in
    float32 or wider: its recurrence multiplies hundreds of factors close to one.

    References
    ----------
    Liu et al., "VMamba: Visual State Space Model", arXiv 2401.10166, section 4.2 (version 1) for the gated
    form, section 4.3 (version 3) for the other.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        *,
        expansion: int = EXPANSION,
        gated: bool = True,
        conv_bias: bool = True,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        d_inner = expansion * d_model
        dt_rank = math.ceil(d_model / CHANNELS_PER_DT_RANK)
        self.d_state = d_state
        self.gated = gated
        self.backend = backend
        self.x_proj_weight = nn.Parameter(torch.empty(NUM_DIRECTIONS, dt_rank + 2 * d_state, d_inner))
        self.dt_projs_weight = nn.Parameter(torch.empty(NUM_DIRECTIONS, d_inner, dt_rank))
        self.dt_projs_bias = nn.Parameter(torch.empty(NUM_DIRECTIONS, d_inner))
        self.A_logs = nn.Parameter(torch.empty(NUM_DIRECTIONS * d_inner, d_state))
        self.Ds = nn.Parameter(torch.empty(NUM_DIRECTIONS * d_inner))
        self.in_proj = nn.Linear(d_model, (1 + gated) * d_inner, bias=False)
        self.conv2d = nn.Conv2d(d_inner, d_inner, kernel_size=3, padding=1, groups=d_inner, bias=conv_bias)
        self.out_norm = nn.LayerNorm(d_inner)
        self.out_proj = nn.Linear(d_inner, d_model, bias=False)
        if not self.A_logs.is_meta:  # else there is nothing to initialise
            nn.init.uniform_(self.x_proj_weight, -(d_inner**-0.5), d_inner**-0.5)
            reset_scan(self.dt_projs_weight, self.dt_projs_bias, self.A_logs, self.Ds)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, height, width, d_model) to the same shape."""
        copies = copies_for_autocast(x.device, self.in_proj, self.conv2d, self.x_proj_weight, self.out_proj)
        if not self.gated:
            u = self._convolve(call_with_copies(self.in_proj, x, copies), copies)
            y = self._scan(u, copies)
            y = self.out_norm(y.to(self.out_norm.weight.dtype)).to(u.dtype)
        else:
            x, z = self._input_and_gate(x, copies)
            y = self._gate(self._scan(self._convolve(x, copies), copies), z)
        return call_with_copies(self.out_proj, y, copies)

    def _input_and_gate(self, x: Tensor, copies: Copies) -> tuple[Tensor, Tensor]:
        layer = self.in_proj
        if is_plain(layer) and layer.bias is None and uses_onednn(x, layer.weight):
            # Two products leave two contiguous tensors; convolution and activation would copy parts of one.
            for_input, for_gate = layer.weight.chunk(2)
            return linear(x, for_input), linear(x, for_gate)
        of_input, of_gate = call_with_copies(layer, x, copies).chunk(2, dim=-1)
        return of_input, of_gate

    def _convolve(self, x: Tensor, copies: Copies) -> Tensor:
        layer = self.conv2d
        if use_depthwise_kernel(x, self.backend) and _is_plain_depthwise(layer) and layer.bias is not None:
            return depthwise_silu(x, layer.weight, layer.bias, backend=self.backend)
        image = call_with_copies(self.conv2d, x.permute(0, 3, 1, 2), copies)
        return F.silu(image).permute(0, 2, 3, 1)

    def _gate(self, y: Tensor, z: Tensor) -> Tensor:
        layer = self.out_norm
        if use_gated_norm_kernel(y, self.backend) and _is_plain_norm(layer, y.shape[3:]):
            return gated_norm(y, z, layer.weight, layer.bias, eps=layer.eps, backend=self.backend)
        return gated(layer(y.to(layer.weight.dtype)), z)

    def _scan(self, x: Tensor, copies: Copies) -> Tensor:
        d_inner = x.shape[-1]
        # One matrix product for all directions: the projection is pointwise, so it can come before the
        # pixels are put into any order.
        weight = copy_or_own(self.x_proj_weight, copies).flatten(0, 1)
        x_dbl = linear(x, weight).unflatten(-1, (NUM_DIRECTIONS, -1))
        dtype = torch.promote_types(x.dtype, torch.float32)
        return ss2d_scan(
            x,
            x_dbl,
            self.dt_projs_weight,
            self.dt_projs_bias,
            -self.A_logs.to(dtype).exp().view(NUM_DIRECTIONS, d_inner, self.d_state),
            self.Ds.view(NUM_DIRECTIONS, d_inner),
            backend=self.backend,
            out_dtype=dtype,
        )


def _is_plain_depthwise(layer: nn.Module) -> bool:
    """Return whether a layer is the convolution that the kernel computes: somebody may have replaced it."""
    return (
        isinstance(layer, nn.Conv2d)
        and is_plain(layer)
        and layer.weight.shape == (layer.in_channels, 1, 3, 3)
        and (layer.stride, layer.padding, layer.dilation) == ((1, 1),) * 3
        and layer.padding_mode == "zeros"
    )


def _is_plain_norm(layer: nn.LayerNorm, shape: tuple[int, ...]) -> bool:
    """Return whether a layer is the norm that the kernel computes."""
    return is_plain(layer) and layer.normalized_shape == shape and layer.bias is not None
