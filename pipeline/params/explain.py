"""Errors in params.yaml and the methods' settings as pydantic finds them, in words that name the key."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from pipeline.core.errors import ParamsError
from pipeline.core.section import Section

S = TypeVar("S", bound=Section)
MOST = 10  # errors of one message
SHOWN = 80  # characters of a value


def settings_of(model: type[S], settings: Mapping[str, Any], key: str) -> S:
    """Settings below a key as the section that they are; ParamsError names what is unknown or wrong."""
    try:
        return model.model_validate(dict(settings))
    except ValidationError as error:
        raise ParamsError(explain(error, model, key)) from error


def explain(error: ValidationError, model: type[BaseModel], under: str = "") -> str:
    """A validation error in words that name keys (below the key `under`), values and valid names."""
    lines = []
    for item in error.errors(include_url=False):
        of_key = item["loc"][-1:] == ("[key]",)  # the key itself is wrong, and stands before this
        keys, there = _walk(model, item["loc"][:-2] if of_key else item["loc"])
        key = ".".join(part for part in (under, *keys) if part)
        if item["type"] == "extra_forbidden":
            section = _walk(model, item["loc"][:-1])[1]
            names = getattr(section, "model_fields", ())
            lines.append(unknown(f"key {key!r}: name", str(item["loc"][-1]), names))
        elif item["type"] == "missing":
            lines.append(f"key {key!r} is missing")
        elif item["type"] == "union_tag_not_found":
            lines.append(f"key '{key}.kind' is missing (there are: {', '.join(_kinds(there))})")
        elif item["type"] == "union_tag_invalid":
            lines.append(unknown(f"{key}.kind", item["ctx"]["tag"], _kinds(there)))
        elif item["type"] == "value_error":
            lines.append(f"{key}: {item['ctx']['error']}" if key else str(item["ctx"]["error"]))
        else:
            is_wrong = f": the key {shown(item['input'])}" if of_key else f" is {shown(item['input'])}"
            lines.append(f"{key or 'params'}{is_wrong}: {item['msg']}")
    more = [f"and {len(lines) - MOST} more"] if len(lines) > MOST else []
    return "; ".join([*lines[:MOST], *more])


def _walk(model: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[list[str], Any]:
    """The keys of an error's place, and the type that belongs there; None where it cannot be told."""
    keys: list[str] = []
    current: Any = model
    for part in loc:
        if get_origin(current) is UnionType and str(part).startswith(("str", "dict[")):
            continue  # neither is which of several types it tried
        if part in _kinds(current):  # pydantic says which of several sections it took; that is no key
            current = _kinds(current)[str(part)]
            continue
        keys.append(
            part if isinstance(part, str) and part.isprintable() and len(part) <= SHOWN else shown(part)
        )
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = current.model_fields.get(str(part))
            current = field.annotation if field else None
        else:  # dict[str, X]: step into X
            arguments = get_args(current)
            current = arguments[-1] if arguments else None
    return keys, current


def _kinds(there: Any) -> dict[str, type[BaseModel]]:
    """The sections that `kind` chooses among, `Annotated[A | B, Field(discriminator="kind")]`; else empty."""
    if get_origin(there) is not Annotated:
        return {}
    return {section.model_fields["kind"].default: section for section in get_args(get_args(there)[0])}


def unknown(what: str, name: str, valid: Iterable[object]) -> str:
    """That a name is not known, the nearest one that is, and all of them."""
    names = [str(entry) for entry in valid]
    near = difflib.get_close_matches(name[:SHOWN], names, n=1)
    hint = f", did you mean {near[0]!r}" if near else ""
    return f"{what} {shown(name)} is not known{hint} (there are: {', '.join(names) or 'none'})"


def shown(value: object) -> str:
    """A value as Python writes it, on one line and not too long."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def one_line(text: str, most: int = 200) -> str:
    """A text without breaks, and not too long."""
    text = " ".join(text[: 2 * most].split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def some_of(names: Sequence[str], most: int = 3) -> str:
    """The first of many names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
