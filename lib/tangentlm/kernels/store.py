"""The store: finished tiles of a kernel in a folder, so that a killed job goes on where it was.

The folder has a manifest, which says what the kernel is of and where its tiles end, and one file
for each finished tile. Every file is written under another name, forced to the disk and then
renamed, so what has its name is whole; two processes that share a folder write equal files over
each other.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from tangentlm.errors import InputError

Values = NDArray[np.float64]
Tiles = list[list[int]]


@dataclass(frozen=True)
class TileStore:
    """The tiles of one kernel on disk.

    Attributes:
        folder: Where they are.
        identity: What decides the values, each by a short name and a digest or a word.
        rows: The rows of every band of tiles.
        columns: The columns of every band of tiles.
    """

    folder: Path
    identity: Mapping[str, str]
    rows: Tiles
    columns: Tiles

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        identity: Mapping[str, str],
        plan: Callable[[], tuple[Tiles, Tiles]],
    ) -> Self:
        """The store in a folder; the borders of its tiles are those that it began with.

        Args:
            folder: An existing store, or a folder to be made.
            identity: What decides the values.
            plan: Gives the bands of rows and of columns of a new store.

        Returns:
            The store.

        Raises:
            InputError: If the folder holds something else, or a kernel of something else.
        """
        path = Path(folder)
        if path.is_file():
            raise InputError(f"cache {path} is a file; the cache of a kernel is a folder")
        path.mkdir(parents=True, exist_ok=True)
        manifest = path / "manifest.json"
        if not manifest.exists():
            is_used = any(path.iterdir()) and not list(path.glob("*.part"))
            # Another process may have begun the same store between these looks.
            if is_used and not manifest.exists():
                raise InputError(f"cache {path} holds other files; give a folder of its own")
            rows, columns = plan()
            new = {"identity": dict(identity), "rows": rows, "columns": columns}
            text = json.dumps({"content": new, "checksum": _digest(new)})
            _write(manifest, text.encode())
        content = _read_manifest(manifest)
        for name in {**identity, **content["identity"]}:
            known, wanted = content["identity"].get(name), identity.get(name)
            if known != wanted:
                raise InputError(
                    f"cache {path} is of another kernel: its {name} is not the same "
                    f"({str(known)[:12]}, not {str(wanted)[:12]}); give another folder or delete it"
                )
        return cls(path, identity, content["rows"], content["columns"])

    def _path(self, a: int, b: int) -> Path:
        return self.folder / f"tile-{a:04d}-{b:04d}.safetensors"

    def load(self, a: int, b: int) -> Values | None:
        """A finished tile.

        Args:
            a: The band of rows.
            b: The band of columns.

        Returns:
            Its values, or ``None`` if it is not there, or is damaged, which a warning says.
        """
        path = self._path(a, b)
        if not path.exists():
            return None
        try:
            tensors = load(path.read_bytes())
            values, checksum = tensors["values"], tensors["checksum"].tobytes()
        except (SafetensorError, KeyError, OSError) as error:
            warnings.warn(f"{path} is damaged ({error}); computing it again", stacklevel=2)
            return None
        if checksum != self._checksum(values, a, b):
            warnings.warn(f"{path} is damaged (checksum); computing it again", stacklevel=2)
            return None
        return np.asarray(values, dtype=np.float64)

    def save(self, a: int, b: int, values: Values) -> None:
        """Write a finished tile.

        Args:
            a: The band of rows.
            b: The band of columns.
            values: Its values.
        """
        values = np.ascontiguousarray(values)
        checksum = np.frombuffer(self._checksum(values, a, b), dtype=np.uint8)
        _write(self._path(a, b), save({"values": values, "checksum": checksum}))

    def _checksum(self, values: Values, a: int, b: int) -> bytes:
        samples = _digest([self.rows[a], self.columns[b]])
        about = f"{_digest(dict(self.identity))} {samples} {values.dtype.str} {values.shape}"
        return hashlib.sha256(about.encode() + values.tobytes()).digest()


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        whole = json.loads(path.read_text())
        content: dict[str, Any] = whole["content"]
        if whole["checksum"] == _digest(content):
            return content
    except (ValueError, KeyError, TypeError, OSError):
        pass
    raise InputError(f"cache {path.parent}: its manifest is damaged; delete the folder")


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
