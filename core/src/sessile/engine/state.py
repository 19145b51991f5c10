"""A session's state: a dict of JSON values, with scopes by the key's prefix, as agent frameworks have them.

Plain keys belong to the session; "user:" keys to all sessions of its user; "app:" keys to
all of its application (`Session(app=…)`), or of none; "temp:" keys stay
in this handle and are never stored. The shared scopes are tiny sessions in the same store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from sessile.drive.faces import is_async
from sessile.engine.committing.tip import Tip
from sessile.engine.handle import Handle
from sessile.errors import Conflict, InvalidInput, InvalidState, SessionNotFound
from sessile.log.encoding import JSON, copied, json_value, same, to_json
from sessile.log.entries import STATE
from sessile.log.header import Header
from sessile.log.ids import APP_STATE, USER_STATE
from sessile.log.stamping import Change, Draft

_Named = Literal["ours", "theirs", "raise"]
Policy = _Named | Callable[[str, JSON, JSON], JSON]
POLICIES = get_args(_Named)
_SHARED = ("user", "app")
_PREFERENCES = "user:preferences"
_WHOLE = 2048  # characters of JSON up to which a state entry always carries the whole state, not only what changed
_BLOCK = 64  # positions in which the state is written whole at least once, where it changes
ABSENT: Any = object()  # the value of a key that is not there


async def get_state(h: Handle, key: str | None = None, default: JSON = None) -> JSON:
    """The value of one key (or `default`), or without a key a dict of everything, shared scopes included."""
    if key is not None:
        _check_key(key)
        scope, plain = _place(key)
        if scope == "temp":
            return copied(h.temp.get(key, default))
        return copied((await _home(h, scope)).get(plain, default))
    state = dict(await _home(h, ""))
    for scope in _SHARED:
        state.update({f"{scope}:{k}": v for k, v in (await _home(h, scope)).items()})
    return copied({**state, **h.temp})


async def set_state(h: Handle, key: str | Mapping[str, JSON], value: JSON = None, *, policy: Policy | None = None) -> None:
    """Set one key, or make a whole dict the session's state (its plain keys; shared ones in it are set, none removed).

    policy: what happens where somebody else changed the same key since this handle last looked: "ours" (the later
    commit wins), "theirs", "raise" (`Conflict`), or a function of (key, ours, theirs) that returns the value. None is "ours";
    with the session's on_conflict="raise" it is `Conflict` for whatever of the session somebody else changed.
    """
    if isinstance(key, str):
        return await merge_state(h, {key: value}, policy=policy)
    if not isinstance(key, Mapping):
        raise InvalidState(f"state is set by a key or a whole dict, not {type(key).__name__} ({key!r:.60})")
    values = json_value(dict(key), "state", InvalidState)
    plain = {k for k in values if not _place(k)[0]}
    await merge_state(h, values, policy=policy, keep=plain)


async def delete_state(h: Handle, key: str) -> None:
    """Remove one key; no error where it is not set."""
    await merge_state(h, {key: ABSENT})


async def update_state(h: Handle, key: str, change: Callable[[JSON], JSON], default: JSON = None) -> JSON:
    """Set a key to `change(old value)`, atomically: asked again when somebody else committed first. Returns the new value."""
    _check_key(key)
    if is_async(change):
        raise InvalidInput("change is an async function: it may be asked again, so pass a plain one of the old value")
    scope, plain = _place(key)
    result: list[JSON] = []

    def changed(old: JSON) -> JSON:
        result[:] = [json_value(change(copied(old)), f"state[{key!r}]", InvalidState)]
        return result[0]

    if scope == "temp":
        while True:
            old = h.temp.get(key, default)
            new = changed(old)
            with h.lock:
                if h.temp.get(key, default) is old:
                    h.temp[key] = new
                    break
    else:
        target = await tip_of(h, scope)
        await target.commit(
            lambda header: state_change(header, {plain: changed(header.state.get(plain, default))}), on_conflict="rebase"
        )
    return copied(result[0])


async def increment_state(h: Handle, key: str, increment: float = 1, default: float = 0) -> int | float:
    """Add to a number in the state, atomically, and return the sum. `InvalidState` where it is no number."""

    def added(old: JSON) -> JSON:
        for name, value in ((f"state[{key!r}]", old), ("increment", increment)):
            if not isinstance(value, (int, float)) or isinstance(value, bool):
                raise InvalidState(f"{name} is {value!r:.60}, to which nothing can be added: it must be a number")
        try:
            return old + increment
        except OverflowError as error:  # an integer that no float holds, and a float
            raise InvalidState(f"state[{key!r}] is too large for {increment!r} to be added: {error}") from error

    total: int | float = await update_state(h, key, added, default)
    return total


async def merge_state(
    h: Handle, values: Mapping[str, Any], *, policy: Policy | None = None, keep: set[str] | None = None
) -> None:
    """Set several keys, one commit for each scope they are in. keep: the plain keys that stay; None: all."""
    if policy is not None:
        check_policy(policy)
    scopes: dict[str, dict[str, Any]] = {} if keep is None else {"": {}}
    for key, value in values.items():
        _check_key(key)
        scope, plain = _place(key)
        value = value if value is ABSENT else json_value(value, f"state[{key!r}]", InvalidState)
        scopes.setdefault(scope, {})[key if scope == "temp" else plain] = value
    temporary = scopes.pop("temp", {})
    targets = [(scope, sets, target := await tip_of(h, scope), await target.open()) for scope, sets in scopes.items()]
    if policy == "raise" and len(targets) > 1:  # before anything is stored
        for scope, sets, target, seen in targets:
            _resolved(await target.refresh(), seen, sets, policy, scope)
    for scope, sets, target, seen in targets:
        await target.commit(
            lambda header, sets=sets, seen=seen, scope=scope: state_change(  # type: ignore[misc]
                header, _resolved(header, seen, sets, policy or "ours", scope), keep if not scope else None
            ),
            on_conflict=None if policy is None else "rebase",
        )
    for key, value in temporary.items():
        h.temp.pop(key, None) if value is ABSENT else h.temp.update({key: value})


def _resolved(header: Header, seen: Header, sets: dict[str, Any], policy: Policy, scope: str) -> dict[str, Any]:
    """`sets` of a scope after the policy has decided each key that changed between `seen` and `header`."""
    if header.version == seen.version:
        return sets
    resolved = {}
    for key, ours in sets.items():
        theirs = header.state.get(key, ABSENT)
        agreed = same(theirs, seen.state.get(key, ABSENT)) or same(theirs, ours)
        resolved[key] = ours if agreed else decide(policy, f"{scope}:{key}" if scope else key, ours, theirs)
    return resolved


def check_policy(policy: object) -> None:
    """`InvalidInput` for what is no policy."""
    if policy not in POLICIES and not callable(policy):
        raise InvalidInput(f"policy is {', '.join(map(repr, POLICIES))} or a function of (key, ours, theirs), not {policy!r:.60}")


def decide(policy: Policy, key: str, ours: JSON, theirs: JSON) -> JSON:
    """The value of a key that two have changed; `ABSENT` stands for none, which a function is given as None."""
    if policy == "ours":
        return ours
    if policy == "theirs":
        return theirs
    ours, theirs = (None if value is ABSENT else copied(value) for value in (ours, theirs))
    if callable(policy):
        return json_value(policy(key, ours, theirs), f"state[{key!r}]", InvalidState)
    raise Conflict(
        f"state key {key!r} was set to {theirs!r:.60} by somebody else while you set it to {ours!r:.60}: read it again, or pass "
        "a policy"
    )


def own_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of a session's own state with values that can be stored; `InvalidState` for others."""
    for key in values:
        check_own_key(key)
    return {key: json_value(value, f"state[{key!r}]", InvalidState) for key, value in values.items()}


def state_change(header: Header, sets: dict[str, Any], keep: set[str] | None = None) -> Change | None:
    """The change that sets these keys of a session's own state; None where they are so already.

    keep: the other keys that stay; None: all.
    """
    gone = {k for k in header.state if keep is not None and k not in keep} | {k for k, v in sets.items() if v is ABSENT}
    values = {k: v for k, v in sets.items() if v is not ABSENT}
    state = {k: v for k, v in {**header.state, **values}.items() if k not in gone}
    if same(state, header.state):
        return None
    within = header.base >= 0 and header.base // _BLOCK == header.head // _BLOCK
    if within and len(to_json(state)) > _WHOLE:
        draft = Draft(STATE, {"set": values, "delete": sorted(gone), "after": header.base})
    else:
        draft = state_draft(state)
    return Change([draft], {"state": state})


def state_draft(state: dict[str, Any]) -> Draft:
    """The entry that says what the whole state is."""
    return Draft(STATE, {"state": state})


def _place(key: str) -> tuple[str, str]:
    scope, colon, plain = key.partition(":")
    return (scope, plain) if colon and scope in (*_SHARED, "temp") else ("", key)


def check_own_key(key: object) -> None:
    """`InvalidState` for what is no key of a session's own state."""
    _check_key(key)
    if scope := _place(str(key))[0]:
        raise InvalidState(f"state key {key!r} is not the session's own, but of the scope {scope!r}: set it with set_state")


def _check_key(key: object) -> None:
    if not isinstance(key, str) or not _place(key)[1]:
        raise InvalidState(f"a state key is a non-empty string, not {key!r}")


def is_shared(key: str) -> bool:
    """Does this key belong to other sessions as well ("user:" and "app:")?"""
    return _place(key)[0] in _SHARED


async def tip_of(h: Handle, scope: str) -> Tip:
    """The `Tip` that holds a scope's state: the session itself for "", else the hidden session of "user" or "app"."""
    if not scope:
        return h
    header = await h.open()
    if not header.version:  # somebody else may have begun it meanwhile, for another user or application
        header = await h.refresh()
    user = header.user_id if scope == "user" else None
    shared = f"{APP_STATE}:{header.app}" if header.app else APP_STATE
    session_id = shared if user is None else USER_STATE + user
    if session_id not in h.scopes:
        h.scopes[session_id] = Tip(h.commits, session_id, user_id=user)
    return h.scopes[session_id]


async def _home(h: Handle, scope: str) -> dict[str, Any]:
    return (await (await tip_of(h, scope)).refresh()).state


# -- saving and restoring, preferences


async def save_state(h: Handle, state: Mapping[str, JSON] | None = None) -> None:
    """Commit the given keys (others stay), or just make sure that the session is stored; then the `save_state` hook.

    State, messages and metadata are durable as they are set: nothing is lost without this call.
    """
    if state is not None:
        await merge_state(h, state)
    await h.commit(lambda header: None if header.version else Change())
    await h.hook("save_state", state=await get_state(h))


async def restore_state(h: Handle) -> dict[str, Any]:
    """The stored state: the answer of a `restore_state` hook (which then is committed), else the store's.

    Raises `SessionNotFound` where nothing was ever stored.
    """
    answers = await h.hook("restore_state")
    if answers:
        await set_state(h, answers[0])
    elif not (await h.refresh()).version:
        raise SessionNotFound(f"nothing is stored under session {h.session_id!r} yet: begin with chat() or save_state()")
    state: dict[str, Any] = await get_state(h)
    return state


async def update_preference(h: Handle, name: str, value: JSON) -> None:
    """Set a preference of the user, seen in all of the user's sessions."""
    _check_key(name)
    await update_state(h, _PREFERENCES, lambda old: {**_preferences(old), name: value}, {})


async def get_preference(h: Handle, name: str, default: JSON = None) -> JSON:
    """One preference of the user, or `default`."""
    return (await get_preferences(h)).get(name, default)


async def get_preferences(h: Handle) -> dict[str, Any]:
    """All preferences of the user."""
    return _preferences(await get_state(h, _PREFERENCES, {}))


def _preferences(found: JSON) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise InvalidState(f"the state key {_PREFERENCES!r} is {found!r:.60}, and preferences are a dict: delete it, or set one")
    return found
