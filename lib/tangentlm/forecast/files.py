"""The files of a forecast: one to learn from, and one to predict, whose columns are the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tangentlm.tasks.labelled_texts import LabelledTexts, read_labelled, read_texts


def read_files(
    file: str | Path, test: str | Path | None = None, *, columns: Mapping[str, str] | None = None
) -> tuple[LabelledTexts, LabelledTexts | None]:
    r"""Read a file of labelled texts, and one of texts to predict.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     mine, new = Path(folder, "mine.csv"), Path(folder, "new.csv")
        ...     _ = mine.write_text("what,stars\nfine,1\ndull,0\ngood,1\nbad,0\n")
        ...     _ = new.write_text("text,what\n7,lovely\n")
        ...     texts, tested = read_files(mine, new, columns={"text_column": "what"})
        >>> texts.columns["text_column"], tested.texts
        ('what', ('lovely',))

    Args:
        file: As ``read_labelled`` takes it.
        test: A file to predict, whose columns are called like those of the other; it may have no
            labels.
        columns: The columns, as ``read_labelled`` takes them; guessed by default.

    Returns:
        The texts to learn from, and those to predict, if there are any.

    Raises:
        InputError: If a file cannot be read or lacks a column.
    """
    texts = read_labelled(file, **(columns or {}))
    return texts, None if test is None else read_texts(test, **texts.columns)
