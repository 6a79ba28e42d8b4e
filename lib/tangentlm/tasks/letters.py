"""What a text is made of: letters that can be seen, and halves of characters, which cannot."""

from __future__ import annotations

import re

LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")
"""Half of a character, as a cut JSON escape leaves it."""

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]")
"""NUL and the like, without tabulators and ends of lines."""


def whole_letters(text: str) -> str:
    r"""The text with the replacement character for each half of a character.

    Example:
        >>> whole_letters("caf\ud83d") == "caf\ufffd"
        True

    Args:
        text: Any text.

    Returns:
        A text that can be encoded.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return LONE_SURROGATE.sub("\ufffd", text)
    return text


def has_letters(text: str) -> bool:
    r"""Whether anything of a text can be seen.

    Example:
        >>> has_letters("!"), has_letters(" \u200b\n")
        (True, False)

    Args:
        text: Any text.

    Returns:
        False for nothing but blanks and characters without a shape.
    """
    return any(letter.isprintable() and not letter.isspace() for letter in text)
