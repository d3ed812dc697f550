"""Maps packed for the browser: all methods of one answer in one file that needs no parsing, so that changing a token, a
layer, a head or a method costs no request.

In: the .npz and .json that saliency wrote. Out: bytes: uint32 length of the JSON that follows (little-endian), the JSON
padded to 4 bytes, then the arrays at the offsets it names.

    data = pack({"raw": Path("000-raw.npz"), "rollout": Path("000-rollout.npz")})

Maps are float32[T, gh, gw]. Layers and heads are uint16[L, H, T, N] with float32[L, H, T], the largest value of each
map, which 65535 stands for: an error of at most 1/131070 of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from radvqa.errors import InputError

STEPS = 65535
HEADER_BYTES = 4


class _Blob:
    """Arrays one after the other, each at a multiple of 4 bytes."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.length = 0

    def add(self, array: np.ndarray) -> int:
        """Append an array; the offset where it begins."""
        at, data = self.length, np.ascontiguousarray(array).tobytes()
        data += b"\0" * (-len(data) % 4)
        self.parts.append(data)
        self.length += len(data)
        return at


def pack(files: Mapping[str, Path]) -> bytes:
    """The packed maps of one answer. files: method -> its .npz, whose .json lies beside it."""
    blob, methods, first = _Blob(), [], None
    for name, path in files.items():
        record, arrays = _read(path)
        first = first or record
        methods.append(_method(name, record, arrays, blob))
    assert first is not None, "an answer without maps"
    tokens = first.get("tokens") or [str(i + 1) for i in range(methods[0]["shape"][0])]
    header = {
        "tokens": tokens,
        "words": first.get("words") or [[token, i, i + 1] for i, token in enumerate(tokens)],
        "prompt": first.get("prompt_tokens") or [],
        "methods": methods,
    }
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 4)
    return len(text).to_bytes(HEADER_BYTES, "little") + text + b"".join(blob.parts)


def _method(name: str, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray], blob: _Blob) -> dict[str, Any]:
    values = arrays["values"].astype("<f4")
    found: dict[str, Any] = {
        "name": name,
        "scale": record["scale"],
        "signed": record["signed"],
        "chosen": list(record["chosen"]),
        "shape": values.shape,
        "values": blob.add(values),
    }
    prompt = arrays.get("prompt_values")
    if prompt is not None:
        found["prompt"] = {"shape": prompt.shape, "values": blob.add(prompt.astype("<f4"))}
    details = arrays.get("details/image")
    if details is not None and details.ndim == 4 and details.min(initial=0.0) >= 0.0:
        largest = details.max(-1).astype("<f4")
        steps = np.rint(details / np.where(largest > 0, largest, 1.0)[..., None] * STEPS).astype("<u2")
        found["heads"] = {"shape": details.shape, "largest": blob.add(largest), "steps": blob.add(steps)}
    return found


def _read(path: Path) -> tuple[Mapping[str, Any], Mapping[str, np.ndarray]]:
    try:
        record = json.loads(path.with_suffix(".json").read_text())
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise InputError(f"maps that cannot be read ({type(error).__name__})", file=path) from error
    if arrays.get("values", np.empty(0)).ndim != 3:
        raise InputError("no maps [tokens, rows, columns] in it", file=path, key="values")
    return record, arrays
