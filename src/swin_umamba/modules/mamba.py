"""The Mamba layer: a selective scan over a sequence between two projections."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swin_umamba.modules.half_precision import call_layer
from swin_umamba.ops.backend import without_autocast
from swin_umamba.ops.selective_scan import selective_scan

EXPANSION = 2
KERNEL = 4
CHANNELS_PER_DT_RANK = 16
DT_MIN, DT_MAX, DT_FLOOR = 1e-3, 1e-1, 1e-4


@torch.no_grad()
def reset_scan(dt_weight: Tensor, dt_bias: Tensor, A_log: Tensor, D: Tensor) -> None:
    """Initialise a scan as Mamba does (Gu & Dao, arXiv 2312.00752, section 3.6).

    The step sizes ``softplus(bias)`` are log-uniform in [0.001, 0.1], the state matrix is the real S4D
    initialisation A = -(1, 2, ..., N), the skip term is one.

    Parameters
    ----------
    dt_weight, dt_bias, A_log, D
        Projection of the step sizes (..., channels, dt_rank) and its bias, logarithm of -A, and skip weight.
    """
    bound = dt_weight.shape[-1] ** -0.5
    nn.init.uniform_(dt_weight, -bound, bound)
    log_dt = torch.empty_like(dt_bias).uniform_(math.log(DT_MIN), math.log(DT_MAX))
    dt = log_dt.exp().clamp(min=DT_FLOOR)
    dt_bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # the inverse of softplus
    states = torch.arange(1, A_log.shape[1] + 1, dtype=A_log.dtype, device=A_log.device)
    A_log.copy_(states.log().expand_as(A_log))
    D.fill_(1.0)


class Mamba(nn.Module):
    """Mamba: project, causal depthwise convolution, selective scan, gate, project back.

    Parameters
    ----------
    d_model
        Channels of the input and the output.
    d_state
        Size N of the hidden state of each channel.
    backend
        Name of the scan backend; None chooses by device (see ``swin_umamba.ops.backend``).

    Notes
    -----
    The scan always runs in float32 or wider, whatever autocast does to the projections.

    References
    ----------
    Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", arXiv 2312.00752, section
    3.4 and, for the initialisation, 3.6.
    """

    def __init__(self, d_model: int, d_state: int = 16, *, backend: str | None = None) -> None:
        super().__init__()
        d_inner = EXPANSION * d_model
        dt_rank = math.ceil(d_model / CHANNELS_PER_DT_RANK)
        self.d_state, self.dt_rank, self.backend = d_state, dt_rank, backend
        self.in_proj = nn.Linear(d_model, 2 * d_inner, bias=False)
        self.conv1d = nn.Conv1d(d_inner, d_inner, KERNEL, groups=d_inner, padding=KERNEL - 1)
        self.x_proj = nn.Linear(d_inner, dt_rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(dt_rank, d_inner)
        self.A_log = nn.Parameter(torch.empty(d_inner, d_state))
        self.D = nn.Parameter(torch.empty(d_inner))
        self.out_proj = nn.Linear(d_inner, d_model, bias=False)
        reset_scan(self.dt_proj.weight, self.dt_proj.bias, self.A_log, self.D)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, length, d_model) to the same shape."""
        length = x.shape[1]
        u, z = call_layer(self.in_proj, x).transpose(1, 2).chunk(2, dim=1)
        u = F.silu(self.conv1d(u)[..., :length])
        parameters = call_layer(self.x_proj, u.transpose(1, 2))
        dt, B, C = parameters.split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        with without_autocast(x.device):  # half precision would round the bias, and with it the step sizes
            delta = self.dt_proj(dt.to(self.D.dtype))
        dtype = torch.promote_types(x.dtype, torch.float32)
        y = selective_scan(
            u.to(dtype),
            delta.transpose(1, 2),
            -self.A_log.to(dtype).exp(),
            B.transpose(1, 2),
            C.transpose(1, 2),
            self.D,
            z,
            delta_softplus=True,
            backend=self.backend,
        )
        assert isinstance(y, Tensor)
        return call_layer(self.out_proj, y.transpose(1, 2))
