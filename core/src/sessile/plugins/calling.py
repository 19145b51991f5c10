"""Calling hooks: implementations in order, wrappers around them, and what a hook may return, checked and converted."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from copy import copy
from typing import Any

from sessile.conversation.messages import Message
from sessile.conversation.taking import as_message, as_messages
from sessile.drive.faces import Face, suited
from sessile.drive.shown import shorten
from sessile.errors import InvalidInput, PluginError
from sessile.log.encoding import JSON, json_value
from sessile.plugins import hookspecs
from sessile.plugins.marking import Implementation, Specs
from sessile.plugins.middleware import check

logger = logging.getLogger("sessile")


class HookCalls(ABC):
    """What a set of plugins does with its hooks. `Plugins` says which implementations there are."""

    @property
    @abstractmethod
    def specs(self) -> Specs:
        """The hooks that there are."""

    @abstractmethod
    def implementations(self, hook: str) -> list[Implementation]:
        """The implementations of a hook, in the order they are called."""

    async def call(
        self,
        face: Face,
        hook: str,
        arguments: Mapping[str, Any],
        *,
        strict: bool = False,
        each: Callable[[], Mapping[str, Any]] | None = None,
        taken: Callable[[Any], Any] = lambda result: result,
    ) -> list[Any]:
        """Call a hook's implementations in order and return their results that are not None.

        Each is called with the arguments it names, and its failure is reported (`strict`: raised as `PluginError`): an
        exception, or a result that the hook cannot have. With a firstresult hook the first result ends the call.
        each: more arguments, made anew for each implementation. taken: what is kept of a result, before the next is called.
        """
        first = hook in self.specs.first_result

        def given() -> Mapping[str, Any]:
            return arguments if each is None else {**arguments, **each()}

        async def inside() -> list[Any]:
            results: list[Any] = []
            for impl in self.implementations(hook):
                result = None if impl.wrapper else await self._result(face, hook, impl, given(), strict)
                if result is not None:
                    results.append(taken(result))
                    if first:
                        break
            return results

        found = self.implementations(hook)
        return await self._wrapped(face, hook, given(), strict, inside) if found else []

    async def fold(
        self, face: Face, hook: str, name: str, value: Any, arguments: Mapping[str, Any], *, strict: bool = False
    ) -> Any:
        """Hand `value` through a hook's implementations as argument `name`: each gets a copy of what the one before returned."""

        async def inside() -> Any:
            folded = value
            for impl in self.implementations(hook):
                if not impl.wrapper:
                    result = await self._result(face, hook, impl, {**arguments, name: copy(folded)}, strict)
                    folded = folded if result is None else result
            return folded

        return await self._wrapped(face, hook, {**arguments, name: copy(value)}, strict, inside)

    async def _result(self, face: Face, hook: str, impl: Implementation, arguments: Mapping[str, Any], strict: bool) -> Any:
        """What an implementation returned, checked; None where it failed."""
        try:
            return _checked(hook, await _invoke(face, impl, arguments))
        except Exception as error:
            self.report(impl, hook, error, strict)

    async def _wrapped(
        self, face: Face, hook: str, arguments: Mapping[str, Any], strict: bool, inside: Callable[[], Awaitable[Any]]
    ) -> Any:
        """The result of `inside` once the hook's wrappers, entered first and left last, had a look at it or changed it."""
        entered: list[tuple[Implementation, Generator[None, Any, Any]]] = []
        try:
            for impl in self.implementations(hook):
                if impl.wrapper:
                    try:
                        generator = await _invoke(face, impl, arguments)
                        await face.call(_enter, generator)
                        entered.append((impl, generator))
                    except Exception as error:
                        self.report(impl, hook, error, strict)
            result = await inside()
            while entered:
                impl, generator = entered.pop()
                try:
                    changed = await face.call(_leave, generator, copy(result))
                    result = result if changed is None else _changed(hook, result, changed)
                except Exception as error:
                    self.report(impl, hook, error, strict)
            return result
        finally:
            for _, generator in entered:
                generator.close()

    def report(self, impl: Implementation, hook: str, error: Exception, strict: bool) -> None:
        """Log a hook's failure with the plugin's name; raise it under `strict`."""
        failure = PluginError(impl.plugin_name, hook, error)
        if strict:
            raise failure from error
        logger.error("%s", failure, exc_info=error)


async def _invoke(face: Face, impl: Implementation, arguments: Mapping[str, Any]) -> Any:
    return await face.call(impl.function, **{n: _given(impl, n, arguments[n]) for n in impl.wanted if n in arguments})


def _given(impl: Implementation, name: str, value: Any) -> Any:
    """An argument as an implementation can use it: sessions and turns in the face of its function."""
    return suited(impl.function, value) if name in ("session", "turn") else value


def _checked(hook: str, result: Any) -> Any:
    check = None if result is None else CHECKS.get(hook)
    return check(result) if check else result


def _changed(hook: str, before: Any, after: Any) -> Any:
    """What a wrapper made of a hook's result, in the form that the hook has: a list of results, or what was folded."""
    if hook in hookspecs.FOLDED:
        return _checked(hook, after)
    if not isinstance(after, list):
        raise InvalidInput(f"a wrapper of {hook} returns the list of results that it got, or another: not {shorten(after)}")
    return [_checked(hook, result) for result in after]


def _enter(generator: Generator[None, Any, Any]) -> None:
    try:
        next(generator)
    except StopIteration:
        raise InvalidInput("a wrapper yields once: this one did not") from None


def _leave(generator: Generator[None, Any, Any], result: Any) -> Any:
    try:
        generator.send(result)
    except StopIteration as stop:
        return stop.value
    generator.close()
    raise InvalidInput("a wrapper yields once: this one did so again")


# -- results


def _listed(hook: str, value: object) -> Iterable[Any]:
    if not isinstance(value, (list, tuple)):
        raise InvalidInput(f"{hook} returned {shorten(value)}: return a list of messages, or None")
    return value


def _prompt(value: object) -> list[Message]:
    messages = [said if type(said) is Message else as_message(said) for said in _listed("build_context", value)]
    if not messages:
        raise InvalidInput("build_context returned an empty prompt: return what the model is to be sent, or None")
    return messages


def _resumed(value: object) -> list[Message]:
    return as_messages(_listed("on_agent_start", value))


def _recalled(value: object) -> list[Message]:
    messages = [said if type(said) is Message else as_message(said) for said in _listed("recall", value)]
    for said in messages:
        if said.role == "tool" or said.tool_calls:
            raise InvalidInput(f"recall returned {shorten(said)}, which belongs to a call: return what it says")
    return messages


def _layers(value: object) -> list[Callable[..., Any]]:
    return [check(layer) for layer in (value if isinstance(value, (list, tuple)) else [value])]


def _state(value: object) -> dict[str, JSON]:
    if not isinstance(value, Mapping):
        raise InvalidInput(f"restore_state returned {shorten(value)}: return a dict, or None")
    state: dict[str, JSON] = json_value(dict(value), "the state")
    return state


def _label(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"want_snapshot returned {shorten(value)}: return a label, or None")
    label: str = json_value(value, "the label")
    return label


CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "build_context": _prompt,
    "middleware": _layers,
    "on_agent_start": _resumed,
    "recall": _recalled,
    "restore_state": _state,
    "want_snapshot": _label,
}
