"""Fill-ins: what stands in a picture where something was taken out.

In: normalised pixels and the patches to take out. Out: the pictures without them.

    without(pixels, kept, "blur")                 # float[V, 3, H, W]

No fill-in is neutral: a network may read grey as a finding. Faithfulness is therefore measured under several.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from radvqa.errors import InputError

FILLS = {
    "grey": "grey picture",
    "mean": "picture of its mean colour",
    "blur": "blurred picture",
    "black": "black picture",
}
"""grey normalises to 0, as in the blank control; black is the smallest value of the picture."""


def filled(pixels: torch.Tensor, fill: str) -> torch.Tensor:
    """float[I, 3, H, W] of the same shape: what is shown in place of the picture. Raises InputError for an unknown one.

    The blur is a Gaussian with a deviation of a tenth of the width, wide enough to take findings out.
    """
    if fill == "grey":
        return torch.zeros_like(pixels)
    if fill == "mean":
        return pixels.mean((2, 3), keepdim=True).expand_as(pixels).contiguous()
    if fill == "black":
        return pixels.amin((2, 3), keepdim=True).expand_as(pixels).contiguous()
    if fill == "blur":
        return blurred(pixels, pixels.shape[-1] / 10.0)
    raise InputError(f"unknown fill-in {fill!r}", key="fill", fix="use one of: " + ", ".join(FILLS))


def blurred(pixels: torch.Tensor, deviation_px: float) -> torch.Tensor:
    """float[I, C, H, W], Gaussian blur, rows then columns, the border repeated."""
    reach = max(1, round(2.5 * deviation_px))
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float32, device=pixels.device)
    kernel = torch.exp(-0.5 * (offsets / deviation_px) ** 2)
    kernel = kernel / kernel.sum()
    channels = pixels.shape[1]
    wide = functional.pad(pixels.float(), (reach, reach, reach, reach), mode="replicate")
    wide = functional.conv2d(wide, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    wide = functional.conv2d(wide, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return wide.to(pixels.dtype)


def without(pixels: torch.Tensor, kept: torch.Tensor, fill: str | torch.Tensor) -> torch.Tensor:
    """float[V, 3, H, W]: a picture float[1, 3, H, W] with the patches kept that float[V, gh, gw] says (1: all, 0: none).

    fill: a name, or what `filled` gave.
    """
    stand_in = filled(pixels, fill) if isinstance(fill, str) else fill
    size = pixels.shape[-2:]
    share = functional.interpolate(kept[:, None].to(pixels.dtype), size=size, mode="nearest")
    return share * pixels + (1 - share) * stand_in
