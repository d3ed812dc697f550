"""From tissues or attenuation to grey values: CT with a window, MR T1 and T2 with a bias field, X-ray.

In: tissue map or path integral. Out: uint8[H, W]. All randomness comes from the generator handed in.

    image = render_ct(tissues, "lung", rng, enhanced=False)
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from radvqa.phantom.grid import Array, smooth_field
from radvqa.phantom.tissue import ENHANCED, HU, T1, T2, TEXTURE, T

WINDOWS: dict[str, tuple[float, float]] = {
    "lung": (-520, 1400),
    "soft tissue": (40, 400),
    "bone": (400, 1800),
    "brain": (38, 85),
}
"""Name -> centre and width in HU."""
NOISE_SD = (0.008, 0.02)
"""The standard deviation of a pixel's noise, as a part of the full grey range, lies between these."""


def _texture(rng: np.random.Generator, size: int) -> Array:
    return smooth_field(rng, size, max(8, size // 4)) * 0.6 + smooth_field(rng, size, max(6, size // 12)) * 0.6


def _finish(grey: Array, blur_px: float, noise: Array) -> Array:
    soft = gaussian_filter(grey, blur_px, mode="nearest", truncate=3.0) + noise
    return (np.clip(soft, 0, 1) * 255 + 0.5).astype(np.uint8)


def render_ct(tissues: Array, window: str, rng: np.random.Generator, *, enhanced: bool) -> Array:
    """Hounsfield values, each tissue a little off its normal value, seen through a window that varies by 8 %."""
    centre, width = WINDOWS[window]
    width = width * rng.uniform(0.92, 1.08)
    centre = centre + width * rng.uniform(-0.03, 0.03)
    value = HU + rng.normal(0, 3, HU.shape).astype(np.float32)
    if enhanced:
        for name, more in ENHANCED.items():
            value[T[name]] += more * rng.uniform(0.8, 1.2)
    grain = np.float32(8 if window != "brain" else 3) * TEXTURE
    hu = value[tissues] + grain[tissues] * _texture(rng, tissues.shape[0])
    low = centre - width / 2
    grey = np.clip((hu - low) * np.float32(1 / width), -0.02, 1.02)
    sd = np.float32(rng.uniform(*NOISE_SD))
    blur_px = rng.uniform(0.5, 0.8)
    noise: Array = rng.standard_normal(tissues.shape, dtype=np.float32)  # type: ignore[assignment]
    return _finish(grey, blur_px, noise * sd)


def render_mr(tissues: Array, sequence: str, rng: np.random.Generator) -> Array:
    """Signal of T1- or T2-weighted MR under a smooth coil bias of up to 25 % with Rician noise."""
    size = tissues.shape[0]
    table = (T1 if sequence == "T1" else T2) * (1 + rng.normal(0, 0.04, T1.shape).astype(np.float32))
    signal = table[tissues] + 0.05 * TEXTURE[tissues] * _texture(rng, size)
    bias = np.exp(np.clip(smooth_field(rng, size, 4), -2, 2) * np.float32(rng.uniform(0.03, 0.11)))
    soft = gaussian_filter(signal * bias, rng.uniform(0.5, 0.8), mode="nearest", truncate=3.0)
    sd = np.float32(rng.uniform(*NOISE_SD))
    real = soft + rng.standard_normal(tissues.shape, dtype=np.float32) * sd
    imaginary = rng.standard_normal(tissues.shape, dtype=np.float32) * sd
    signal = np.sqrt(real * real + imaginary * imaginary) * np.float32(rng.uniform(0.82, 1.0))
    return (np.clip(signal, 0, 1) * 255 + 0.5).astype(np.uint8)


def render_xray(path: Array, rng: np.random.Generator) -> Array:
    """Beer-Lambert: counts fall as exp(-path), photon noise, then the negative that radiologists read."""
    path = gaussian_filter(path, rng.uniform(0.5, 0.8), mode="nearest", truncate=3.0)
    counts = np.float32(rng.uniform(2.5e4, 8e4)) * np.exp(-path)
    counts = np.maximum(counts + np.sqrt(counts) * rng.standard_normal(path.shape, dtype=np.float32), 1)
    dense = -np.log(counts)
    body = dense[path > 0.4]
    low, high = np.percentile(body[:: max(1, body.size // 4000)], (3, 97.5)) if body.size else (0.0, 1.0)
    grey = np.clip((dense - low) / max(float(high - low), 1e-3), 0, 1) ** np.float32(rng.uniform(0.9, 1.25))
    noise = rng.standard_normal(path.shape, dtype=np.float32) * np.float32(rng.uniform(*NOISE_SD) * 0.5)
    grey = 0.04 + 0.92 * grey + noise
    return (np.clip(grey, 0, 1) * 255 + 0.5).astype(np.uint8)
