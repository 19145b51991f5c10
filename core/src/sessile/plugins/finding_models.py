"""Finding a model: an instance, a registered name, or the default."""

from __future__ import annotations

import os
from typing import Any

from sessile.conversation.model import Model, is_model
from sessile.errors import InvalidInput, NotInstalled
from sessile.plugins.active import Plugins

EMBEDDED = "smollm"


def find_model(model: Any, plugins: Plugins) -> Model:
    """The model to use: an instance as it is, a name from the registry ("name" or "name:variant"), or the default.

    None means $SESSILE_MODEL, else the embedded model. A named model is made once for the plugin that registers it.
    """
    if model is not None and not isinstance(model, str):
        if not is_model(model):
            raise InvalidInput(f"{model!r} is no model: pass a registered name or an object with generate(request)")
        given: Model = model
        return given
    name = model or os.environ.get("SESSILE_MODEL") or EMBEDDED
    base, _, variant = name.partition(":")
    try:
        registration = plugins.registry.find("model", base)
    except NotInstalled as error:
        if model or base != EMBEDDED:
            raise
        raise NotInstalled(
            "no language model is installed. Try: pip install sessile-smollm (embedded, for trying things out), or "
            "pip install sessile-openai and pass model='openai:NAME'"
        ) from error
    if variant not in registration.made:
        with registration.lock:
            if variant not in registration.made:
                factory = registration.load()
                registration.made[variant] = factory(variant) if variant else factory()
    found: Model = registration.made[variant]
    return found
