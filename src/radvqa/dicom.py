"""One DICOM file in, one 8-bit picture and a few tags that name nobody out.

    picture, tags = read_dicom(Path("IM0001"), window="lung"); picture.save("lung.png"); print(tags["modality"])

Grey values pass the modality LUT (Hounsfield units for CT), then the window that is asked for, else the file's own VOI
LUT or window, else their 0.5th to 99.5th percentile; MONOCHROME1 is turned, so that more is always brighter. Colour
becomes RGB. Sources: DICOM PS3.3 C.11.1 (modality LUT), C.11.2 (VOI LUT and window functions), C.7.6.3 (pixels).

Uncompressed, deflated and RLE pixels are read with pydicom, 8-bit JPEG with Pillow, JPEG 2000 (high-throughput too) with
OpenJPEG, JPEG-LS with CharLS; lossless JPEG needs GDCM, of `pip install 'radvqa[dicom]'`.
"""

from __future__ import annotations

import math
import warnings
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi, pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGExtended12Bit

from radvqa.dicom_tags import allowed_tags, grouped, number
from radvqa.errors import InputError
from radvqa.picture import MAX_PIXELS

WINDOWS: dict[str, tuple[float, float]] = {
    "lung": (-600, 1500),
    "bone": (400, 1800),
    "brain": (40, 80),
    "soft tissue": (40, 400),
}
"""Centre and width in Hounsfield units."""
Window = Literal["lung", "bone", "brain", "soft tissue"] | tuple[float, float]
Frame = int | Literal["middle", "montage"]
MARKS = ("SOPClassUID", "Rows")
"""A file without DICOM's preamble is taken for one if it has any of these."""
MONTAGE_FRAMES, MONTAGE_PX = 16, 2048
"""A montage shows at most this many frames, evenly chosen, and is at most this wide and high."""
MAX_INFLATED = 1 << 29
"""A deflated file that unpacks to more bytes is refused before it is held in memory (decompression bombs)."""


def read_dicom(
    path: str | Path, *, window: Window | None = None, frame: Frame | None = None, salt: bytes | None = None
) -> tuple[Image.Image, dict[str, Any]]:
    """The picture (mode L or RGB) and its tags.

    `window`: a name, or (centre, width) in the units of the modality LUT. `frame` of a multi-frame file: its number
    from 0, "middle" (also what None means) or "montage". With a `salt`, the tags hold the pseudonyms `subject`,
    `study`, `series` and `image`; without one, none of them.
    Raises InputError with the reason for everything that cannot be read as a picture.
    """
    path = Path(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of every oddity it can live with
        try:
            data = open_dicom(path)
            picture, shown = _picture(data, window, frame)
            return picture, allowed_tags(data, salt) | {"width_px": picture.width, "height_px": picture.height} | shown
        except InputError as error:
            raise InputError(error.found, file=path, key=error.key, fix=error.fix) from error
        except Exception as error:  # pydicom and its decoders raise many kinds for broken files
            raise InputError(f"the DICOM file is damaged ({type(error).__name__})", file=path) from error


def open_dicom(path: Path, *, tags: list[str] | None = None) -> pydicom.Dataset:
    """The data set of a file, with or without preamble. `tags`: read only these, and no pixels."""
    options: dict[str, Any] = {"stop_before_pixels": True, "specific_tags": [*tags, *MARKS]} if tags else {}
    try:
        _check_inflated(path)
        try:
            return pydicom.dcmread(path, **options)
        except InvalidDicomError:
            bare = pydicom.dcmread(path, force=True, **options)
    except OSError as error:
        raise InputError(f"the file cannot be read ({error.strerror or error})") from error
    if not any(mark in bare for mark in MARKS):
        raise InputError("not a DICOM file")
    return bare


def _check_inflated(path: Path) -> None:
    """InputError for a deflated file that unpacks to more than MAX_INFLATED: pydicom would unpack all of it."""
    try:
        meta = read_file_meta_info(path)
    except (InvalidDicomError, EOFError, ValueError):
        return  # no preamble: never deflated
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    begin = 128 + 4 + 12 + int(meta.get("FileMetaInformationGroupLength", 0))  # preamble, DICM, the length's element
    packed, size, stream = path.read_bytes()[begin:], 0, zlib.decompressobj(-zlib.MAX_WBITS)
    while packed and not stream.eof:
        try:
            size += len(stream.decompress(packed, 1 << 20))
        except zlib.error:
            return  # damaged: pydicom says so
        if size > MAX_INFLATED:
            raise InputError(f"it unpacks to more than {MAX_INFLATED >> 20} MiB", fix="save it uncompressed")
        packed = stream.unconsumed_tail


# ---------------------------------------------------------------- pixels


def _picture(data: pydicom.Dataset, window: Window | None, frame: Frame | None) -> tuple[Image.Image, dict[str, Any]]:
    num_frames = _check(data)
    if frame == "montage" and num_frames > 1:
        chosen = np.unique(np.linspace(0, num_frames - 1, min(num_frames, MONTAGE_FRAMES)).round().astype(int))
        frames = [_frame(data, int(place), window) for place in chosen]
        return _montage([picture for picture, _ in frames]), {"window": frames[0][1], "frames": chosen.tolist()}
    place = frame if isinstance(frame, int) else num_frames // 2
    if not 0 <= place < num_frames:
        raise InputError(f"there is no frame {place}", key="frame", fix=f"frames are 0 to {num_frames - 1}")
    picture, used = _frame(data, place, window)
    return picture, {"window": used} | ({"frame": place} if num_frames > 1 else {})


def _check(data: pydicom.Dataset) -> int:
    """The number of frames of a data set that holds pixels within bounds."""
    if not any(name in data for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise InputError(f"there is no picture in it ({_kind(data)})")
    rows, columns = number(data.get("Rows")), number(data.get("Columns"))
    if not rows or not columns or rows < 1 or columns < 1:
        raise InputError("it does not say how large its picture is")
    if rows * columns > MAX_PIXELS:
        raise InputError(f"the picture is {columns:.0f} x {rows:.0f} px", fix=f"at most {MAX_PIXELS} pixels are read")
    syntax = getattr(getattr(data, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is not None and syntax.is_compressed and syntax.is_encapsulated:
        _check_decoder(data, syntax)
    num_frames = number(data.get("NumberOfFrames") or 1)
    if num_frames is None or num_frames < 1 or num_frames % 1:
        raise InputError("its number of frames is not a number")
    return int(num_frames)


def _check_decoder(data: pydicom.Dataset, syntax: pydicom.uid.UID) -> None:
    """InputError where no installed decoder can read pixels compressed as `syntax`."""
    try:
        decoder = pydicom.pixels.get_decoder(syntax)
    except NotImplementedError as error:
        raise InputError(f"pixels compressed as {syntax.name} cannot be read") from error
    fix = "install its decoder: pip install 'radvqa[dicom]'"
    bits = number(data.get("BitsStored")) or 8
    if syntax == JPEGExtended12Bit and bits > 8 and "pylibjpeg" not in decoder.available_plugins:
        fix = "12 bits need pylibjpeg-libjpeg, which is GPL-3.0 and not among radvqa's requirements"
    elif decoder.is_available:
        return
    raise InputError(f"its pixels are compressed as {syntax.name}", fix=fix)


def _kind(data: pydicom.Dataset) -> str:
    """What a file without pixels is."""
    uid = data.get("SOPClassUID") or getattr(getattr(data, "file_meta", None), "MediaStorageSOPClassUID", None)
    name = getattr(uid, "name", "")
    return name if name and not name[0].isdigit() else "it says no kind"


def _frame(data: pydicom.Dataset, place: int, window: Window | None) -> tuple[Image.Image, str]:
    """One frame, and in words how its grey values were chosen."""
    try:
        values = pixel_array(data, index=place)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"its pixels cannot be decoded ({reason[:300]})") from error
    kind = str(data.get("PhotometricInterpretation", "")).upper()
    if kind == "PALETTE COLOR":
        values = apply_color_lut(values, data)
        return Image.fromarray(_eight_bits(values, 8 * values.itemsize)), "colour"
    if values.ndim == 3:
        return Image.fromarray(_eight_bits(values, int(number(data.get("BitsStored")) or 8))), "colour"
    shares, used = _windowed(data, place, values, window)
    if kind == "MONOCHROME1":
        shares = 1 - shares
    return Image.fromarray((shares * 255).round().astype(np.uint8)), used


def _eight_bits(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    return (values >> (bits - 8) if bits > 8 else values).astype(np.uint8)


def _montage(frames: list[Image.Image]) -> Image.Image:
    """Frames row by row, in a grid about as wide as high."""
    columns = math.ceil(math.sqrt(len(frames)))
    rows = math.ceil(len(frames) / columns)
    scale = min(1.0, MONTAGE_PX / (columns * frames[0].width), MONTAGE_PX / (rows * frames[0].height))
    width, height = max(1, int(frames[0].width * scale)), max(1, int(frames[0].height * scale))
    sheet = Image.new(frames[0].mode, (columns * width, rows * height))
    for place, picture in enumerate(frames):
        small = picture.resize((width, height), Image.Resampling.BOX) if scale < 1 else picture
        sheet.paste(small, (place % columns * width, place // columns * height))
    return sheet


# ---------------------------------------------------------------- grey values


def _windowed(
    data: pydicom.Dataset, place: int, values: NDArray[Any], window: Window | None
) -> tuple[NDArray[np.float64], str]:
    """float64[H, W] from 0 (darkest) to 1, and in words which window it was."""
    padding = _padding(data, values)
    stored, values = values, _rescaled(data, place, values)
    used: str
    if isinstance(window, str):
        if window not in WINDOWS:
            raise InputError(f"unknown window {window!r}", key="window", fix="use " + ", ".join(WINDOWS))
        if str(data.get("Modality", "")).upper() != "CT":
            fix = "it is for CT; leave it out or give centre and width"
            raise InputError(f"a {window} window is in Hounsfield units", key="window", fix=fix)
        shares, used = _between(values, *WINDOWS[window]), window
    elif window is not None:
        if len(window) != 2 or not window[1] > 0:
            raise InputError(f"the window is {window}", key="window", fix="give a centre and a width above 0")
        shares, used = _between(values, *window), f"{window[0]:g} / {window[1]:g}"
    else:
        shares, used = _own_window(data, place, stored, values, padding)
    darkest = float(shares[~padding].min()) if not padding.all() else 0.0
    return np.where(padding, min(darkest, float(shares.min())), shares), used


def _padding(data: pydicom.Dataset, stored: NDArray[Any]) -> NDArray[np.bool_]:
    """Which pixels are outside of the picture (PS3.3 C.7.5.1.1.2)."""
    value, limit = (number(data.get(name)) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit"))
    if value is None:
        return np.zeros(stored.shape, bool)
    low, high = sorted((value, limit if limit is not None else value))
    return (stored >= low) & (stored <= high)


def _rescaled(data: pydicom.Dataset, place: int, values: NDArray[Any]) -> NDArray[np.float64]:
    """Stored values to the modality's units."""
    source = grouped(data, place, "PixelValueTransformationSequence") or data
    slope, offset = number(source.get("RescaleSlope")), number(source.get("RescaleIntercept"))
    if "ModalityLUTSequence" in data and data.ModalityLUTSequence:
        return np.asarray(apply_modality_lut(values, data), np.float64)
    if slope is None or offset is None or slope == 0:
        return values.astype(np.float64)
    return values * slope + offset


def _own_window(
    data: pydicom.Dataset, place: int, stored: NDArray[Any], values: NDArray[np.float64], padding: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], str]:
    """What the file itself wants: its VOI LUT, its first usable window, else the range of its values."""
    if data.get("VOILUTSequence"):
        looked_up = np.asarray(apply_voi(values.astype(stored.dtype), data, index=0), np.float64)
        bits = number(data.VOILUTSequence[0].LUTDescriptor[2]) or 16
        return np.clip(looked_up / (2**bits - 1), 0, 1), "the file's VOI LUT"
    source = grouped(data, place, "FrameVOILUTSequence") or data
    centre, width = (number(source.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if centre is not None and width is not None and width >= 1:
        function = str(source.get("VOILUTFunction") or "LINEAR").upper()
        return _between(values, centre, width, function), f"the file's, {centre:g} / {width:g}"
    known = values[~padding & np.isfinite(values)]
    if not known.size:
        return np.zeros(values.shape), "flat"
    low, high = np.percentile(known, [0.5, 99.5])
    if high <= low:
        low, high = known.min(), known.max()
    spread = np.nan_to_num((values - low) / max(high - low, 1e-12), nan=0.0, posinf=1.0, neginf=0.0)
    return np.clip(spread, 0, 1), "0.5th to 99.5th percentile"


def _between(values: NDArray[np.float64], centre: float, width: float, function: str = "LINEAR") -> NDArray[np.float64]:
    """PS3.3 C.11.2.1.2 (LINEAR) and C.11.2.1.3 (SIGMOID, LINEAR_EXACT), with output from 0 to 1."""
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    if function == "LINEAR_EXACT" or width <= 1:
        return np.clip((values - centre) / width + 0.5, 0, 1)
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)
