"""Pictures with structure, as a scan has it, and what happens to pictures on their way into another data set."""

import io

import numpy as np
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter


def scene(seed: int, size: tuple[int, int] = (240, 200)) -> Image.Image:
    """A body on black: an ellipse with organs and texture in it, another for every seed."""
    rng = np.random.default_rng(seed)
    width, height = size
    y, x = np.mgrid[:height, :width]
    grey = np.zeros((height, width))
    body = ((x - width / 2) / (width * 0.42)) ** 2 + ((y - height / 2) / (height * 0.42)) ** 2 < 1
    grey[body] = 90
    for _ in range(14):
        centre, radii = rng.uniform(0.15, 0.85, 2) * size, rng.uniform(8, 42, 2)
        organ = ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 < 1
        grey[organ & body] += rng.uniform(-70, 90)
    grey += 12 * gaussian_filter(rng.standard_normal(grey.shape), 2) / 0.14 * body
    return Image.fromarray(gaussian_filter(grey, 0.8).clip(0, 255).astype(np.uint8)).convert("RGB")


def halved(picture: Image.Image) -> Image.Image:
    return picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BILINEAR)


def cropped(picture: Image.Image) -> Image.Image:
    """A seventh of the width and a tenth of the height cut away."""
    return picture.crop((picture.width // 7, picture.height // 10, picture.width, picture.height))


def darkened(picture: Image.Image) -> Image.Image:
    return picture.point([round(255 * (value / 255) ** 1.7) for value in range(256)] * 3)


def bad_jpeg(picture: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=30)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def turned(picture: Image.Image) -> Image.Image:
    return picture.rotate(2, Image.Resampling.BILINEAR)


def framed(picture: Image.Image) -> Image.Image:
    return ImageOps.expand(picture, 30)


def everything(picture: Image.Image) -> Image.Image:
    return bad_jpeg(darkened(halved(cropped(picture))))


CHANGES = [halved, cropped, darkened, bad_jpeg, turned, framed, everything]
