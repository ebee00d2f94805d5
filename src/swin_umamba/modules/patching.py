"""Changes of resolution between VSS stages: patch embedding, merging and expanding, all channels-last."""

from __future__ import annotations

from torch import Tensor, nn

from swin_umamba.modules.half_precision import call_layer


class PatchEmbed(nn.Module):
    """Cut an image into square patches and project each to one normalised vector.

    Parameters
    ----------
    in_channels
        Channels of the input.
    dim
        Channels of the output.
    patch_size
        Edge of a patch in pixels.
    """

    def __init__(self, in_channels: int, dim: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, kernel_size=patch_size, stride=patch_size)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, height, width) to (batch, height/patch, width/patch, dim)."""
        patches: Tensor = self.norm(self.proj(x).permute(0, 2, 3, 1))
        return patches


class PatchMerging(nn.Module):
    """Halve the resolution: concatenate each 2x2 neighbourhood, normalise and reduce it.

    Parameters
    ----------
    dim
        Channels of the input.
    out_dim
        Channels of the output.

    References
    ----------
    Liu et al., "Swin Transformer", arXiv 2103.14030, section 3.1.
    """

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * dim, out_dim, bias=False)
        self.norm = nn.LayerNorm(4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, height, width, dim) to (batch, height // 2, width // 2, out_dim).

        A last odd row or column has no partner and is left out.
        """
        height, width = x.shape[1] // 2, x.shape[2] // 2
        x = x[:, : 2 * height, : 2 * width].unflatten(2, (width, 2)).unflatten(1, (height, 2))
        # (batch, height, row, width, column, dim): pretrained weights expect the four neighbours in the
        # order upper left, lower left, upper right, lower right, so the row runs faster than the column.
        x = x.permute(0, 1, 3, 4, 2, 5).flatten(3)
        return call_layer(self.reduction, self.norm(x))


class PatchExpand(nn.Module):
    """Raise the resolution: project each pixel to ``scale * scale`` pixels and normalise each.

    Parameters
    ----------
    dim
        Channels of the input.
    out_dim
        Channels of the output.
    scale
        Factor by which height and width grow.

    References
    ----------
    Cao et al., "Swin-Unet", arXiv 2105.05537, section 3.5.
    """

    def __init__(self, dim: int, out_dim: int, scale: int = 2) -> None:
        super().__init__()
        self.scale = scale
        self.expand = nn.Linear(dim, scale * scale * out_dim, bias=False)
        self.norm = nn.LayerNorm(out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, height, width, dim) to (batch, scale * height, scale * width, out_dim)."""
        return self.project(x).permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(1, 2)

    def project(self, x: Tensor) -> Tensor:
        """Map (batch, height, width, dim) to (batch, height, width, scale, scale, out_dim).

        Pixelwise operations cost less here, on contiguous memory, than after the pixels have moved to their
        places.
        """
        patches: Tensor = self.norm(call_layer(self.expand, x).unflatten(-1, (self.scale, self.scale, -1)))
        return patches


class ChannelsLast(nn.Module):
    """Move the channels from the first axis of an image to its last."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, height, width) to (batch, height, width, channels)."""
        return x.permute(0, 2, 3, 1)


class ChannelsFirst(nn.Module):
    """Move the channels from the last axis of an image to its first."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, height, width, channels) to (batch, channels, height, width)."""
        return x.permute(0, 3, 1, 2)


class ConvolutionStem(nn.Sequential):
    """Two 3x3 convolutions, each normalised: the patch embedding of VMamba's second generation.

    Parameters
    ----------
    in_channels
        Channels of the input.
    dim
        Channels of the output; between the convolutions there are half as many.
    patch_size
        Factor by which height and width shrink: 4, or 2 with a first convolution of stride 1.

    References
    ----------
    Liu et al., "VMamba: Visual State Space Model", arXiv 2401.10166 (version 3), and its public code.
    """

    def __init__(self, in_channels: int, dim: int, patch_size: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, dim // 2, 3, stride=patch_size // 2, padding=1),
            ChannelsLast(),
            nn.LayerNorm(dim // 2),
            ChannelsFirst(),
            nn.GELU(),
            nn.Conv2d(dim // 2, dim, 3, stride=2, padding=1),
            ChannelsLast(),
            nn.LayerNorm(dim),
        )

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map an image (batch, in_channels, height, width) to two channels-last embeddings.

        Returns
        -------
        tuple of Tensor
            What the second convolution sees, (batch, ceil(height / 2), ceil(width / 2), dim / 2), and the
            output, (batch, ceil(height / 4), ceil(width / 4), dim); with patch size 2 twice as large.
        """
        layers = list(self)
        for layer in layers[:5]:
            x = layer(x)
        half = x.permute(0, 2, 3, 1)
        for layer in layers[5:]:
            x = layer(x)
        return half, x


class ConvolutionMerging(nn.Sequential):
    """Halve the resolution with a 3x3 convolution, and normalise; an odd side is rounded up.

    Parameters
    ----------
    dim
        Channels of the input.
    out_dim
        Channels of the output.
    """

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__(
            ChannelsFirst(),
            nn.Conv2d(dim, out_dim, 3, stride=2, padding=1),
            ChannelsLast(),
            nn.LayerNorm(out_dim),
        )
