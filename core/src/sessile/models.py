"""Models: what the author of one needs."""

from sessile.conversation.foreign import token_usage
from sessile.conversation.messages import Message
from sessile.conversation.model import EchoModel, Model, Request, TokenUsage
from sessile.conversation.openai_forms import to_openai
from sessile.conversation.tools import Tool
from sessile.drive.background import background, on_background
from sessile.log.encoding import JSON, to_json

__all__ = [
    "JSON",
    "EchoModel",
    "Message",
    "Model",
    "Request",
    "TokenUsage",
    "Tool",
    "background",
    "on_background",
    "to_json",
    "to_openai",
    "token_usage",
]
