"""The text: documents of a folder, or of a data set of the hub, and what is held out of them.

A document is one line of a file. Which documents are held out depends on their text alone, so it
is the same for every model, order and seed.
"""

from __future__ import annotations

import hashlib
import lzma
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tangentlm.errors import InputError, unknown_name
from tangentlm.params import digest, file_digest
from tangentlm.tasks import list_tasks, load_task, read_part

CORPUS_VARIABLE = "TANGENTLM_CORPUS"
"""The environment variable that names a corpus."""
HUB_PREFIX = "hub:"
"""What a corpus of the hub begins with, e.g. ``hub:wikitext/wikitext-103-raw-v1``."""
BUNDLED = "bundled"
"""The corpus of the bundled tasks' training texts: tiny, but always there."""
HELD_OUT = 200
"""One document of so many is held out."""


@dataclass(frozen=True)
class Corpus:
    """A text to pre-train on.

    Attributes:
        source: For people: the names of its files, or the hub's data set.
        checksum: SHA-256 of all of it; for the hub, of its name alone.
        parts: The names of its files without endings; one name where it has no files.
    """

    source: str
    checksum: str
    parts: tuple[str, ...] = ("text",)
    _files: tuple[Path, ...] = ()
    _hub: str = ""

    def documents(self) -> Iterator[str]:
        """Every document that is not empty, in the order of the files.

        Yields:
            Text without line breaks.

        Raises:
            InputError: If a file cannot be read, naming it and the line.
        """
        for _, text in self.documents_by_part():
            yield text

    def documents_by_part(self) -> Iterator[tuple[int, str]]:
        """The same documents, each with the part that it is of.

        Yields:
            The place of the part in ``parts``, and the text.

        Raises:
            InputError: If a file cannot be read, naming it and the line.
        """
        if self._hub:
            lines = [_hub_lines(self._hub)]
        else:
            lines = [_lines(path) for path in self._files] or [_bundled_lines()]
        for part, of_part in enumerate(lines):
            for line in of_part:
                text = " ".join(line.split())
                if text:
                    yield part, text

    def passes(self, given: Mapping[str, int]) -> list[int]:
        """How often an epoch reads each part.

        Args:
            given: What a recipe says, by the names of parts.

        Returns:
            A number a part, 1 where nothing is given.

        Raises:
            InputError: If there is no part of a name.
        """
        for name in given:
            if name not in self.parts:
                raise unknown_name("part of the corpus", name, self.parts)
        return [given.get(name, 1) for name in self.parts]


def open_corpus(location: str | Path | None = None) -> Corpus:
    """The corpus at a place.

    Args:
        location: A folder with ``*.txt`` or ``*.txt.xz``, one document a line, or
            ``hub:[<owner>/]<data set>[/<configuration>]`` with a column ``text``; by default what
            the variable ``TANGENTLM_CORPUS`` names.

    Returns:
        The corpus; its text is not read yet, but for the checksum.

    Raises:
        InputError: If nothing is named, or the folder does not exist or has no text file.
    """
    named = str(location or os.environ.get(CORPUS_VARIABLE) or "")
    if not named:
        raise InputError(
            f"no corpus: set {CORPUS_VARIABLE} (or the parameter 'corpus') to a folder of .txt or "
            f".txt.xz files, one document a line, to {HUB_PREFIX}<data set>, or to {BUNDLED!r}"
        )
    if named.startswith(HUB_PREFIX):
        name = named.removeprefix(HUB_PREFIX)
        return Corpus(name, digest(["hub", name]), _hub=name)
    if named == BUNDLED:
        return Corpus("training texts of the bundled tasks", digest(list(_bundled_lines())))
    folder = Path(named)
    if not folder.is_dir():
        raise InputError(f"the corpus folder {folder} does not exist")
    files = sorted(path for path in folder.iterdir() if path.name.endswith((".txt", ".txt.xz")))
    if not files:
        raise InputError(f"the corpus folder {folder} has no .txt or .txt.xz file")
    checksum = digest([[path.name, file_digest(path)] for path in files])
    parts = tuple(path.name.removesuffix(".xz").removesuffix(".txt") for path in files)
    return Corpus(", ".join(path.name for path in files), checksum, parts, tuple(files))


def is_held_out(document: str) -> bool:
    """Whether a document is kept from training.

    Args:
        document: Its text.

    Returns:
        True for one document of ``HELD_OUT``, by the SHA-256 of the text.
    """
    head = hashlib.sha256(document.encode()).digest()[:8]
    return int.from_bytes(head, "big") % HELD_OUT == 0


def _lines(path: Path) -> Iterator[str]:
    opener = lzma.open if path.suffix == ".xz" else open
    number = 0
    try:
        # Decoded line by line, so that an error knows its line.
        with opener(path, "rb") as lines:
            for line in lines:
                text = line.decode("utf-8")
                number += 1
                yield text
    except (UnicodeDecodeError, EOFError, OSError, lzma.LZMAError) as error:
        raise InputError(f"{path} cannot be read after line {number}: {error}") from None


def _bundled_lines() -> Iterator[str]:
    for task in map(load_task, list_tasks()):
        if task.bundled:
            for row in read_part(task, "train"):
                yield row.text_a
                yield row.text_b or ""


def _hub_lines(name: str) -> Iterator[str]:
    import datasets

    parts = name.split("/")
    ways: list[tuple[str, str | None]] = [(name, None)]  # set or owner/set
    if len(parts) == 2:
        ways.insert(0, (parts[0], parts[1]))  # set/configuration
    elif len(parts) == 3:
        ways = [("/".join(parts[:2]), parts[2])]  # owner/set/configuration
    for number, (path, configuration) in enumerate(ways, start=1):
        try:
            loaded = datasets.load_dataset(path, configuration, split="train")
            break
        except Exception as error:
            if number == len(ways):
                first = (str(error).splitlines() or [type(error).__name__])[0]
                raise InputError(
                    f"corpus {name}: cannot be loaded from the hub ({first})"
                ) from error
    if "text" not in loaded.column_names:
        raise InputError(f"corpus {name} has no column 'text', only {loaded.column_names}")
    for row in loaded:
        yield row["text"]
