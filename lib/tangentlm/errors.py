"""One way to say that an input is wrong: one line, with the nearest right thing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_SHOWN = 30
"""At most so many known names are listed."""


class InputError(ValueError):
    """The user's input is wrong; the message is one line that says what and where."""


class NonFiniteError(ArithmeticError):
    """A loss, gradient or kernel is NaN or infinite; the message names the sample or step."""


def unknown_name(kind: str, name: object, known: Iterable[str]) -> InputError:
    """An error for a name that does not exist, with the nearest name that does.

    Args:
        kind: What the name should be, e.g. ``"task"``.
        name: The name that was given.
        known: The names that exist.

    Returns:
        The error, to be raised by the caller.
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(name).lower(), [n.lower() for n in names], n=1, cutoff=0.5)
    match = next((n for n in names if near and n.lower() == near[0]), None)
    shown = [*names[:_SHOWN], "..."] if len(names) > _SHOWN else names
    hint = f"; did you mean {match!r}?" if match else f"; known: {', '.join(shown) or 'none'}"
    return InputError(f"unknown {kind} {name!r}{hint}")
