"""One finished step on disk: a folder that appears whole or not at all, and stage.json that says how it came to be.

In: what a step was told (config) and the hashes of what it reads (inputs). Out: the step's folder under its final
name, with stage.json in it: fingerprint, config, input and output hashes, versions, seconds, peak memory.

    with writing(Path("runs/x/scores"), config={"num_draws": 2000}, inputs={"predictions": output_hash(p)}) as partial:
        (partial / "scores.json").write_text("{}")

A step that was killed leaves `<name>.partial`; a step that failed leaves nothing (or its partial folder, if it can
resume). Two runs with the same config and the same inputs have the same fingerprint, on every machine.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from radvqa.errors import InputError

RECORD = "stage.json"
MARKER = ".fingerprint"
"""In a partial folder: the fingerprint it is being made for, so that nothing is resumed under another config."""
PACKAGES = ("radvqa", "torch", "transformers", "peft", "numpy")


# ---------------------------------------------------------------- fingerprints


def fingerprint(*parts: Any) -> str:
    """32 hexadecimal digits of SHA-256 over the parts as sorted JSON, together with radvqa's version.

    A part is anything JSON can say, or a pydantic model, dataclass, path, tuple or set within it; TypeError otherwise.
    """
    text = json.dumps([versions()["radvqa"], *parts], sort_keys=True, default=_plain, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"a {type(value).__name__} cannot be part of a fingerprint")


@cache
def versions() -> dict[str, str | None]:
    """Python and the packages a result depends on; None: not installed. Nothing is imported."""

    def of(name: str) -> str | None:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None

    return {"python": platform.python_version()} | {name: of(name) for name in PACKAGES}


def path_hash(path: Path, *, content: bool = False) -> str:
    """What a foreign input holds: a file by its bytes, a folder by the name, size and time of each file below it.

    content: a folder by the bytes of each file below it, so that a copy of the folder has the same hash.
    """
    if not path.is_dir():
        return _file_hash(path)
    below = sorted(p for p in path.rglob("*") if p.is_file())
    if content:
        return fingerprint([(p.relative_to(path).as_posix(), _file_hash(p)) for p in below])
    return fingerprint([(p.relative_to(path).as_posix(), p.stat().st_size, p.stat().st_mtime_ns) for p in below])


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---------------------------------------------------------------- reading a finished step


def record(folder: Path) -> dict[str, Any] | None:
    """The stage.json of a finished step, or None if there is none that can be read."""
    try:
        found = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def is_done(folder: Path, fingerprint: str) -> bool:
    """Whether the folder was finished under this fingerprint and every file it was finished with is still whole."""
    found = record(folder)
    if found is None or found.get("fingerprint") != fingerprint:
        return False
    sizes = {name: file["bytes"] for name, file in found["outputs"].items()}
    return all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in sizes.items())


def output_hash(folder: Path) -> str:
    """The hash of all that a finished step wrote: the input hash of the steps that read it."""
    found = record(folder)
    assert found is not None, f"{folder} is not a finished step"
    return found["output_hash"]


# ---------------------------------------------------------------- writing one


@contextmanager
def writing(folder: Path, config: Any, inputs: Mapping[str, str], *, resume: bool = False) -> Iterator[Path]:
    """Give a temporary sibling folder to write into; at the end, add stage.json and rename it to `folder`.

    inputs: name -> hash of each thing the step reads. The fingerprint is `fingerprint(config, inputs)`.
    resume: keep what a cut attempt under the same fingerprint left in `<name>.partial`, and keep it again if this
    attempt fails; otherwise the step starts empty and a failure leaves nothing. An earlier result stays until the
    new one is whole.
    """
    mark = fingerprint(config, dict(inputs))
    partial = folder.with_name(folder.name + ".partial")
    resumed = resume and partial.is_dir() and _read(partial / MARKER) == mark
    if not resumed:
        _remove(partial)
        partial.mkdir(parents=True)
        (partial / MARKER).write_text(mark)
    try:
        with measuring() as measured:
            yield partial
        _write_record(partial, mark, config, inputs, {**measured(), "resumed": resumed})
    except BaseException as error:
        full = is_full(partial.parent)  # asked before anything is removed
        if not resume:
            _remove(partial)
        if full and isinstance(error, Exception) and not isinstance(error, (OSError, InputError)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        raise
    _swap(partial, folder)
    (folder / MARKER).unlink(missing_ok=True)  # only now: cut before the rename, a resumable step still finds its work


def adopt(twin: Path, folder: Path) -> None:
    """Make `folder` the finished step that lies at `twin`: its files under a second name, or copied to another disk."""
    partial = folder.with_name(folder.name + ".partial")
    _remove(partial)
    shutil.copytree(twin, partial, copy_function=link)
    _swap(partial, folder)


def link(source: str | Path, target: str | Path) -> None:
    """A file under a second name, or a copy of it where files cannot have two."""
    try:
        Path(target).hardlink_to(Path(source).resolve())
    except OSError:
        shutil.copyfile(source, target)


def is_full(folder: Path) -> bool:
    """Whether there is no room left where a folder lies. Some writers fail on a full disk without saying so."""
    return shutil.disk_usage(folder).free < 1 << 20


def _write_record(folder: Path, mark: str, config: Any, inputs: Mapping[str, str], measured: dict[str, Any]) -> None:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in (RECORD, MARKER))
    outputs = {p.relative_to(folder).as_posix(): {"sha256": _file_hash(p), "bytes": p.stat().st_size} for p in files}
    plain = json.loads(json.dumps(config, default=_plain))
    found = {
        "fingerprint": mark,
        "output_hash": fingerprint({name: file["sha256"] for name, file in outputs.items()}),
        "config": plain,
        "seed": plain.get("seed") if isinstance(plain, dict) else None,
        "inputs": dict(inputs),
        "outputs": outputs,
        "versions": versions(),
        "platform": platform.platform(),
        "num_cpus": os.cpu_count(),
        **measured,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    temporary = folder / (RECORD + ".partial")
    temporary.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    temporary.replace(folder / RECORD)


def _swap(partial: Path, folder: Path) -> None:
    """Put `partial` in the place of `folder`; a kill between the two renames loses the old result, never the new."""
    old = folder.with_name(folder.name + ".old")
    _remove(old)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _read(path: Path) -> str | None:
    return path.read_text() if path.is_file() else None


# ---------------------------------------------------------------- seconds and memory

_watched: list[int] = []
"""Highest resident bytes seen so far by each `measuring` that is open, outermost first."""


@contextmanager
def measuring() -> Iterator[Callable[[], dict[str, Any]]]:
    """Measure a block: the function given returns wall_s, peak_rss_bytes and, where a GPU was used, peak_gpu_bytes.

    The peak is this process's own during the block (Linux; elsewhere since the process began), its children not
    counted. Blocks may nest.
    """
    _carry()
    _watched.append(0)
    depth, start = len(_watched) - 1, time.perf_counter()
    _reset_peaks()

    def measured() -> dict[str, Any]:
        if depth < len(_watched):
            _carry()
            result["wall_s"], result["peak_rss_bytes"] = round(time.perf_counter() - start, 3), _watched[depth]
            if (gpu := _gpu_peak()) is not None:
                result["peak_gpu_bytes"] = gpu
        return dict(result)

    result: dict[str, Any] = {}
    try:
        yield measured
    finally:
        measured()
        del _watched[depth:]


def _carry() -> None:
    peak = _peak_rss() if _watched else 0
    _watched[:] = [max(seen, peak) for seen in _watched]


def _peak_rss() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        line = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM")), None)
        if line is not None:
            return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _reset_peaks() -> None:
    with suppress(OSError):  # not Linux, or not allowed here: the peak is then the process's, as documented
        Path("/proc/self/clear_refs").write_text("5")
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def _gpu_peak() -> int | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return int(torch.cuda.max_memory_allocated())
