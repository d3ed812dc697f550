"""The pictures of a corpus as files: each distinct one once, under its key.

files = PictureFiles(corpus, Path("out/images")); files.name(sample.image)  # "images/3fa1....png"
"""

from __future__ import annotations

from pathlib import Path

from radvqa.sample import Corpus


class PictureFiles:
    """Writes pictures into a folder when they are first asked for, with the bytes they are stored as."""

    def __init__(self, corpus: Corpus, folder: Path) -> None:
        self._corpus, self._folder = corpus, folder
        self._names: dict[str, str] = {}
        folder.mkdir(parents=True)

    def name(self, key: str) -> str:
        """The path of the picture, relative to the folder's parent."""
        if key not in self._names:
            data = self._corpus.image_bytes(key)
            file = self._folder / f"{key}.{ending(data)}"
            file.write_bytes(data)
            self._names[key] = f"{self._folder.name}/{file.name}"
        return self._names[key]


def ending(data: bytes) -> str:
    """png or jpg: a corpus stores nothing else."""
    return "png" if data.startswith(b"\x89PNG") else "jpg"
