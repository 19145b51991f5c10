"""Tools: the schema a model is given, the values a function gets, what is refused, and what a model hears."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import datetime
import decimal
import enum
import functools
import pathlib
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType, Optional, TypedDict

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessile import Agent, AsyncSession, MemorySessionStore, Request, Session, tool
from sessile.errors import InvalidInput

if TYPE_CHECKING:
    from fractions import Fraction


class Unit(enum.Enum):
    C = "celsius"
    F = "fahrenheit"


class Size(enum.IntEnum):
    S = 1
    L = 2


class Colour(enum.StrEnum):
    RED = "red"


@dataclasses.dataclass
class Place:
    city: str
    zip: int = 0


@attrs.define
class Trip:
    to: Place
    units: list[Unit] = attrs.field(factory=list)
    on: datetime.date | None = None


class Filter(TypedDict):
    tag: str
    limit: int


@dataclasses.dataclass
class Node:
    children: list[Node]


@dataclasses.dataclass
class Positive:
    number: int

    def __post_init__(self) -> None:
        if self.number <= 0:
            raise ValueError("the number has to be positive")


Order = NewType("Order", int)
TEXT, INTEGER = {"type": "string"}, {"type": "integer"}
NULL = {"type": "null"}
UNITS = {"enum": ["celsius", "fahrenheit"]}
NOON = datetime.datetime(2030, 1, 1, 12, tzinfo=datetime.UTC)


def array(items: Any = None, **more: Any) -> dict[str, Any]:
    return {"type": "array", **({"items": items} if items else {}), **more}


def fields(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*required], "additionalProperties": False}


PLACE = fields("city", city=TEXT, zip=INTEGER)

# annotation, its schema, [(what a model gives, what the function gets)], [what is refused]
TYPES: list[tuple[Any, dict[str, Any], list[tuple[Any, Any]], list[Any]]] = [
    (str, TEXT, [("a", "a"), (4711, "4711")], [None, True, {}, ["a"]]),
    (int, INTEGER, [(1, 1), ("2", 2), (3.0, 3)], [3.5, True, "x", None]),
    (float, {"type": "number"}, [(1, 1.0), ("1.5", 1.5)], ["x", False, None]),
    (bool, {"type": "boolean"}, [(True, True), ("false", False)], ["no", 1, None]),
    (Any, {}, [(1, 1), (None, None), ([{}], [{}])], []),
    (object, {}, [("a", "a")], []),
    (Order, INTEGER, [("42", 42)], ["x"]),
    (Annotated[int, "how many"], {**INTEGER, "description": "how many"}, [(1, 1)], ["x"]),
    (Unit, UNITS, [("celsius", Unit.C)], ["C", 1, None]),
    (Size, {"enum": [1, 2]}, [(2, Size.L)], [True, "1", 3]),
    (Colour, {"enum": ["red"]}, [("red", Colour.RED)], ["RED"]),
    (Literal["a", 1, None], {"enum": ["a", 1, None]}, [("a", "a"), (1, 1), (None, None)], ["b", True]),
    (list[int], array(INTEGER), [([1, "2"], [1, 2])], ["12", {}, None, ["x"]]),
    (Sequence[str], array(TEXT), [(["a"], ["a"])], ["abc"]),
    (Iterable[Unit], array(UNITS), [(["celsius"], [Unit.C])], ["celsius"]),
    (set[int], array(INTEGER, uniqueItems=True), [([1, 1], {1})], [1]),
    (frozenset[str], array(TEXT, uniqueItems=True), [(["a"], frozenset("a"))], ["a"]),
    (tuple[int, ...], array(INTEGER), [([1, 2], (1, 2))], [1]),
    (tuple[int, str], array(prefixItems=[INTEGER, TEXT], minItems=2, maxItems=2), [([1, "a"], (1, "a"))], [[1]]),
    (list, array(), [([1], [1])], ["a"]),
    (dict[str, int], {"type": "object", "additionalProperties": INTEGER}, [({"a": 1}, {"a": 1})], [[1], {"a": "x"}]),
    (Mapping[Unit, Any], {"type": "object", "additionalProperties": {}}, [({"celsius": 1}, {Unit.C: 1})], [{"C": 1}]),
    (Place, PLACE, [({"city": "Lisbon"}, Place("Lisbon"))], [{"zip": 1}, {"city": "x", "street": "y"}, "Lisbon", [1]]),
    (
        Filter,
        fields("tag", "limit", tag=TEXT, limit=INTEGER),
        [({"tag": "a", "limit": "3"}, {"tag": "a", "limit": 3})],
        [{"tag": "a"}],
    ),
    (list[Place], array(PLACE), [([{"city": "a"}], [Place("a")])], [[{"zip": 1}]]),
    (Positive, fields("number", number=INTEGER), [({"number": 1}, Positive(1))], [{"number": 0}]),
    (int | None, {"anyOf": [INTEGER, NULL]}, [(None, None), ("1", 1)], ["x"]),
    (int | str, {"anyOf": [INTEGER, TEXT]}, [("1", "1"), (1, 1)], [None, True]),
    (Optional[int], {"anyOf": [INTEGER, NULL]}, [(None, None)], ["x"]),  # noqa: UP045
    (Place | list[int], {"anyOf": [PLACE, array(INTEGER)]}, [([1], [1]), ({"city": "a"}, Place("a"))], ["x"]),
    (bytes, {**TEXT, "contentEncoding": "base64"}, [("aGk=", b"hi")], ["hi!", 1]),
    (datetime.datetime, {**TEXT, "format": "date-time"}, [("2030-01-01T12:00:00Z", NOON)], ["noon", 5]),
    (datetime.date, {**TEXT, "format": "date"}, [("2030-01-01", datetime.date(2030, 1, 1))], ["today"]),
    (uuid.UUID, {**TEXT, "format": "uuid"}, [("0" * 32, uuid.UUID(int=0))], ["0"]),
    (decimal.Decimal, {**TEXT, "format": "decimal"}, [("1.10", decimal.Decimal("1.10"))], ["x"]),
    (pathlib.Path, {**TEXT, "format": "path"}, [("/tmp", pathlib.Path("/tmp"))], [1]),
]


def with_parameter(annotation: Any) -> Callable[..., Any]:
    """A function with one parameter, `value`, which it returns."""

    def take(value: Any) -> Any:
        return value

    take.__annotations__ = {"value": annotation}
    return take


def call(function: Any, *calls: dict[str, Any], face: str = "blocking") -> list[str]:
    """What a model hears of calls of a function."""
    made = tool(function)

    class Calls:
        heard: list[str]

        def generate(self, request: Request) -> Any:
            self.heard = [m.content for m in request.messages if m.role == "tool"]
            if self.heard:
                return "done"
            return {"tool_calls": [{"id": str(n), "name": made.name, "arguments": a} for n, a in enumerate(calls)]}

    model = Calls()
    options: Any = {"store": MemorySessionStore(), "agent": Agent(model=model, tools=[made])}
    if face == "blocking":
        assert Session("s", **options).chat("x") == "done"
    else:
        assert asyncio.run(AsyncSession("s", **options).chat("x")) == "done"
    return model.heard


@pytest.mark.parametrize(("annotation", "schema", "taken", "refused"), TYPES, ids=lambda value: str(value)[:40])
def test_a_function_gets_values_of_the_types_it_says(annotation: Any, schema: Any, taken: Any, refused: Any) -> None:
    got: list[Any] = []

    def take(value: Any) -> str:
        got.append(value)
        return "taken"

    take.__annotations__ = {"value": annotation}
    assert tool(take).parameters == {"type": "object", "properties": {"value": schema}, "required": ["value"]}
    assert call(take, *[{"value": given} for given, _ in taken]) == ["taken"] * len(taken)
    assert got == [value for _, value in taken]
    assert [type(value) for value in got] == [type(value) for _, value in taken]
    got.clear()
    if refused:
        for heard in call(take, *[{"value": value} for value in refused]):
            assert heard.startswith("Error: take cannot be called so: ")
            assert "value" in heard
        assert not got


def test_the_text_of_a_refusal_says_what_is_wrong_and_where() -> None:
    def plan(trip: Trip) -> None: ...

    wrong = {"to": {"city": "Lisbon", "zip": "many"}, "units": ["kelvin"], "at": 1}
    (heard,) = call(plan, {"trip": wrong})
    assert "expected a whole number, not 'many' @ trip.to.zip" in heard
    assert "expected one of ['celsius', 'fahrenheit'], not 'kelvin' @ [0] @ trip.units" in heard
    assert "extra fields found (at) @ trip" in heard
    (heard,) = call(with_parameter(Positive), {"value": {"number": 0}})
    assert "the number has to be positive" in heard


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner) |
                    st.dictionaries(st.text(), inner), max_leaves=8))  # fmt: skip
def test_whatever_a_model_gives_is_taken_or_refused(value: Any) -> None:
    for annotation, *_ in TYPES:
        bound = tool(with_parameter(annotation)).bind({"value": value})
        assert isinstance(bound, str) or set(bound.arguments) == {"value"}


class Unknown: ...


@pytest.mark.parametrize(
    ("annotation", "why"),
    [
        (Unknown, "no way to make Unknown"),
        (Callable[[], int], "no way to make"),
        (list[complex], "no way to make complex"),
        (dict[tuple[int, int], str], "keys of JSON objects are strings"),
        (Node, "Node contains itself"),
        ("Fraction", "'Fraction' is not defined"),
        ("1 +", "no type at run time"),
        (enum.Enum("Pair", {"A": (1, 2)}), r"has the value \(1, 2\)"),
    ],
)
def test_what_cannot_be_made_is_refused_when_the_tool_is_made(annotation: Any, why: str) -> None:
    with pytest.raises(InvalidInput, match=rf"parameter 'value' of tool 'take' .*{why}"):
        Agent(tools=[with_parameter(annotation)])


def fraction(x: int) -> Fraction:
    """What it returns need not exist."""
    return x  # type: ignore[return-value]


class Divider:
    """Divides."""

    def __call__(self, a: int, b: int = 1) -> float:
        return a / b

    def method(self, a: int) -> int:
        return a

    @staticmethod
    def static(a: int) -> int:
        return a


def keyed(a: int, /, b: int = 2, *rest: Any, key: str = "", **more: Any) -> list[Any]:
    """Everything."""
    return [a, b, list(rest), key, more]


def two_only(a: int = 1, b: int = 2, /) -> list[int]:
    return [a, b]


@functools.wraps(fraction)
def wrapped(*arguments: Any, **named: Any) -> Any:
    return fraction(*arguments, **named)


CALLABLES: list[tuple[Any, str, dict[str, Any], str]] = [
    (len, "len", {"obj": "four"}, "4"),
    (divmod, "divmod", {"x": 7, "y": 2}, "[3,1]"),
    (Divider(), "Divider", {"a": "4", "b": "2"}, "2.0"),
    (Divider().method, "method", {"a": "4"}, "4"),
    (Divider.static, "static", {"a": "4"}, "4"),
    (Place, "Place", {"city": "Lisbon", "zip": "1"}, '{"city":"Lisbon","zip":1}'),
    (fraction, "fraction", {"x": "1"}, "1"),
    (wrapped, "fraction", {"x": "1"}, "1"),
    (functools.partial(keyed, 1, key="secret"), "keyed", {"b": "5", "z": 1}, '[1,5,[],"secret",{"z":1}]'),
    (keyed, "keyed", {"a": "1", "key": "k"}, '[1,2,[],"k",{}]'),
    (two_only, "two_only", {"b": "5"}, "[1,5]"),
    (two_only, "two_only", {}, "[1,2]"),
    (lambda x=1: x, "named", {"x": 2}, "2"),
]


@pytest.mark.parametrize("face", ["blocking", "async"])
@pytest.mark.parametrize(("function", "name", "arguments", "result"), CALLABLES, ids=lambda value: str(value)[:20])
def test_whatever_is_callable_may_be_a_tool(face: str, function: Any, name: str, arguments: Any, result: str) -> None:
    made = tool(function, name="named") if name == "named" else tool(function)
    assert made.name == name
    assert call(made, arguments, face=face) == [result]


def test_what_a_partial_fixes_is_neither_shown_nor_taken() -> None:
    made = tool(functools.partial(keyed, key="secret"))
    assert "secret" not in str(made.parameters)
    assert made.description == "Everything."
    assert call(made, {"a": 1, "key": "mine"}) == ["Error: keyed cannot be called so: got an unexpected keyword argument 'key'"]


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (7, "a function, or a Tool"),
        (dict, "tool 'dict' has no readable signature"),
        (lambda: 1, "no name that a model could call"),
    ],
)
def test_what_cannot_be_a_tool_is_refused(function: Any, error: str) -> None:
    with pytest.raises(InvalidInput, match=error):
        Agent(tools=[function])


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(
        InvalidInput, match=r"agent 'A' has two tools named 'method': name one of them with tool\(function, name=…\)"
    ):
        Agent("A", tools=[Divider().method, Divider().method])
    agent = Agent("A", tools=[Divider().method, tool(Divider().method, name="other")], model="echo")
    agent.tools.append(tool(Divider().method))
    with pytest.raises(InvalidInput, match="two tools named 'method'"):
        Session("s", store=MemorySessionStore(), agent=agent).chat("x")


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no")


def raises(error: BaseException) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


def loop() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


RESULTS: list[tuple[Callable[[], Any], str]] = [
    (lambda: "caf\udce9.txt", "caf\\udce9.txt"),
    (lambda: ["caf\udce9.txt"], '["caf\\udce9.txt"]'),
    (raises(OSError("caf\udce9.txt")), "Error: OSError: caf\\udce9.txt"),
    (raises(Unprintable()), "Error: Unprintable: its text cannot be had (ValueError)"),
    (raises(StopIteration()), "Error: RuntimeError"),
    (lambda: Trip(Place("a", 1), [Unit.C], None), '{"on":null,"to":{"city":"a","zip":1},"units":["celsius"]}'),
    (lambda: datetime.date(2030, 1, 1), "2030-01-01"),
    (lambda: {"b": b"hi", "a": {3, 1}}, '{"a":[1,3],"b":"aGk="}'),
    (lambda: None, "null"),
    (lambda: float("nan"), "nan"),
    (loop, "[[...]]"),
    (lambda: complex(1, 2), "(1+2j)"),
]


@pytest.mark.parametrize("face", ["blocking", "async"])
@pytest.mark.parametrize(("function", "heard"), RESULTS, ids=[heard[:30] for _, heard in RESULTS])
def test_whatever_a_tool_returns_or_raises_is_heard_and_ends_no_turn(face: str, function: Any, heard: str) -> None:
    (result,) = call(tool(function, name="f"), {}, face=face)
    assert result.startswith(heard)


def test_bytes_go_round() -> None:
    data = bytes(range(256))
    assert call(with_parameter(bytes), {"value": base64.b64encode(data).decode()}) == [base64.b64encode(data).decode()]


def test_a_name_that_is_imported_for_types_only_is_named(tmp_path: Any) -> None:
    file = tmp_path / "tools.py"
    file.write_text("from sessile import tool\n\ndef f(a: int, b: 'Gone') -> 'Gone': ...\n\ntool(f)\n")
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, check=False)
    assert "parameter 'b' of tool 'f' cannot be made from JSON: its annotation 'Gone' is no type at run time" in done.stderr


def test_a_tool_that_yields_is_refused() -> None:
    def each() -> Iterator[int]:
        yield 1

    async def each_later() -> AsyncIterator[int]:
        yield 1

    for function in (each, each_later, functools.partial(each)):
        with pytest.raises(InvalidInput, match="yields its result, and a model hears of one only: return a list"):
            tool(function)
