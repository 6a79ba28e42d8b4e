"""Models of pydantic that refuse unknown names and say what is wrong in one line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from tangentlm.errors import InputError, unknown_name

PositiveRate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A learning rate."""


class Strict(BaseModel):
    """A frozen model that refuses unknown names and explains itself in one line."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    later: ClassVar[Mapping[str, object]] = {}
    """Fields that came after runs had been made, each with the value that means what those runs
    did: at that value a field is no part of a run's identity, which so stays as it was."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_numbers(cls, value: object, info: ValidationInfo) -> object:
        """Refuse yes and no where a number is meant; YAML reads them as true and false."""
        field = cls.model_fields[str(info.field_name)]
        values = value if isinstance(value, list | tuple) else [value]
        if field.annotation is not bool and any(isinstance(item, bool) for item in values):
            raise ValueError("is a yes or no, not what is meant here")
        return value

    def values_that_decide(self, without: Iterable[str] = ()) -> dict[str, Any]:
        """The values that are part of the identity of a run.

        Args:
            without: Fields that decide nothing.

        Returns:
            The values by name; a field of ``later`` only where it is not as it was before.
        """
        missing = object()
        values = self.model_dump(mode="json", exclude=set(without))
        return {n: value for n, value in values.items() if value != self.later.get(n, missing)}

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Self:
        """Validate ``values``, turning the first problem into one clear line.

        Args:
            values: The values by name.
            where: What is validated, for the message, e.g. ``"kernel run"``.

        Returns:
            The validated model.

        Raises:
            InputError: If a name is unknown or a value has the wrong type or range.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            # A misspelt name explains a missing one, so it is told first.
            found = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
            problem = _explain(found[0], cls)
            raise InputError(f"{where}: {problem}") from None


def _explain(error: ErrorDetails, model: type[BaseModel]) -> str:
    """One problem that pydantic found, in one line."""
    path = [str(part) for part in error["loc"]]
    name = ".".join(path) or "value"
    if error["type"] == "extra_forbidden":
        known = model
        for part in path[:-1]:
            inner = [
                a for a in get_args(known.model_fields[part].annotation) if a is not type(None)
            ]
            known = inner[0] if inner else known.model_fields[part].annotation  # type: ignore[assignment]
        return str(unknown_name("parameter", path[-1], known.model_fields))
    if error["type"] == "missing":
        return f"{name} is missing"
    if not path:
        return error["msg"].removeprefix("Value error, ")
    return f"{name} = {error['input']!r}: {error['msg'].removeprefix('Value error, ')}"


def digest(value: object) -> str:
    """A SHA-256 hex digest of any JSON value, the same on every machine.

    Args:
        value: Anything that ``json`` can write.

    Returns:
        64 hexadecimal digits.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """A SHA-256 hex digest of a file; it is read again only where it has changed.

    Args:
        path: The file.

    Returns:
        64 hexadecimal digits.
    """
    status = path.stat()
    return _file_digest(path, status.st_size, status.st_mtime_ns)


@cache
def _file_digest(path: Path, _size: int, _mtime: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
