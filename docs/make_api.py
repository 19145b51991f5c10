"""Writes docs/api.md from the public import paths: `uv run python docs/make_api.py`. A test fails when it was not done."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from sessile.drive.locks import cached_property

PAGE = Path(__file__).parent / "api.md"
PATHS = ("sessile", "sessile.errors", "sessile.store", "sessile.models", "sessile.plugins", "sessile.testing")
TWINS = {
    "AsyncAgent": "Agent",
    "AsyncSession": "Session",
    "AsyncSessionManager": "SessionManager",
}  # has the same methods, and just its own are listed
TYPES = {  # what is said of names that are types
    "AnyAgent": "an `Agent` or an `AsyncAgent`",
    "MessageLike": "a message as it is given: a `Message`, a dict, a (role, content) pair, or an SDK's object",
    "Middleware": "a function of (turn, call_next) or of (message, response), blocking or async",
    "Point": "a point in a session: a `Snapshot`, a label or message id, a number of messages, or a `Message`",
    "Policy": 'the value of a state key that two have changed: "ours", "theirs", "raise", or a function of (key, ours, theirs)',
    "Role": 'who says a message: "system", "user", "assistant" or "tool"',
    "StoreLike": "what opens a store, or is one: a URL, a path, a `Store`, a document-style store, or None",
}
HOMES: dict[str, str] = {}  # where the methods of a class are listed: once
ABOUT = """# The public names

What sessile promises, from six import paths; everything else may change. Written by `docs/make_api.py`: a change of the
interface shows here. The documents of the hooks are in [hooks.md](hooks.md). The classes of stores and models that plugins
register, such as `SQLiteSessionStore`, can be imported from `sessile`, too.
"""


def page() -> str:
    """The reference: each path, its names, and the methods of its classes, with signatures and the first line of what is said."""
    HOMES.clear()
    return "\n".join([ABOUT, *(line for path in PATHS for line in _path(path))]) + "\n"


def _path(path: str) -> Iterator[str]:
    module = import_module(path)
    yield f"## {path}\n"
    yield f"{_first_line(module)}\n"
    for name in sorted(module.__all__, key=str.lower):
        yield from _name(path, name, getattr(module, name))
    yield ""


def _name(path: str, name: str, value: Any) -> Iterator[str]:
    if name in TYPES:
        yield f"- `{name}`: {TYPES[name]}."
        return
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        yield f"- `{name}`{_constant(value)}"
        return
    made = f"({', '.join(base.__name__ for base in value.__bases__)})" if _is_error(value) else _signature(value)
    yield f"- `{name}{made}`{_about(value)}"
    if inspect.isclass(value) and not _is_error(value) and path == HOMES.setdefault(name, path):
        twin = TWINS.get(name)
        yield from _members(value, but=[*dir(import_module(path).__getattr__(twin))] if twin else [])


def _is_error(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, BaseException)


def _members(cls: type, but: Sequence[str]) -> Iterator[str]:
    for name in sorted({*dir(cls)} - {*but}):
        found = inspect.getattr_static(cls, name)
        if name.startswith("_") or not _is_own(cls, name):
            continue
        if isinstance(found, (property, cached_property)):
            getter = found.fget if isinstance(found, property) else found.compute
            yield f"  - `.{name}{_result(getter)}`{_about(found)}"
        elif callable(getattr(cls, name)) and not _refuses(found):
            yield f"  - `.{name}{_signature(getattr(cls, name))}`{_about(getattr(cls, name))}"


def _result(getter: Any) -> str:
    annotation = inspect.signature(getter).return_annotation
    return "" if annotation is inspect.Signature.empty else f" -> {_Plain.of(annotation)}"


def _refuses(method: Any) -> bool:
    """Is it there to raise, as what changes a dict is in one that is read-only?"""
    return inspect.isfunction(method) and method.__annotations__.get("return") == "NoReturn"


def _is_own(cls: type, name: str) -> bool:
    """Is this written here, and not by Python or another library?"""
    owner = next(base for base in cls.__mro__ if name in vars(base))
    return owner.__module__.split(".")[0] == "sessile"


def _constant(value: Any) -> str:
    return f" = `{value!r}`" if isinstance(value, (int, float, str, tuple)) else ""


def _signature(value: Any) -> str:
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    parameters = [_parameter(p) for name, p in signature.parameters.items() if name not in ("self", "h")]
    text = str(signature.replace(parameters=parameters, return_annotation=_Plain.of(signature.return_annotation)))
    return text.removesuffix(" -> None") if inspect.isclass(value) else text


def _parameter(parameter: inspect.Parameter) -> inspect.Parameter:
    shown = isinstance(parameter.default, (str, int, float, tuple, type(None))) or parameter.default is inspect.Parameter.empty
    default = parameter.default if shown else _Plain("…")
    return parameter.replace(annotation=_Plain.of(parameter.annotation), default=default)


class _Plain:
    """An annotation or a default as it is shown."""

    def __init__(self, text: str) -> None:
        self.text = text

    @classmethod
    def of(cls, annotation: Any) -> Any:
        if annotation is inspect.Signature.empty:
            return annotation
        annotation = getattr(annotation, "__forward_arg__", annotation)  # of a named tuple's field
        text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
        return cls(re.sub(r"\b(?:sessile|collections|typing)(?:\.[a-z_]+)*\.", "", text).replace("'", ""))

    def __repr__(self) -> str:
        return self.text


def _about(value: Any) -> str:
    return f": {line}" if (line := _first_line(value)) else ""


def _first_line(value: Any) -> str:
    """The first sentence or line of what is said, whole: where a line ends within a sentence, up to the end of that."""
    first = (inspect.getdoc(value) or "").partition("\n\n")[0]
    line, _, rest = first.partition("\n")
    if not rest or line.endswith((".", ":")):
        return line.strip()
    return re.split(r"(?<=\.)\s", " ".join(first.split()), maxsplit=1)[0]


if __name__ == "__main__":
    PAGE.write_text(page())
