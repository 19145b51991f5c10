"""What memory and knowledge share: passages of text in a SQLite file, found by their words, meaning and neighbours."""

from sessile_retrieval.corpus import Span
from sessile_retrieval.database import Database
from sessile_retrieval.embedding import Embedder, check_embedder, find_embedder
from sessile_retrieval.index import Found, Index, Passage
from sessile_retrieval.ranking import WEIGHTS, Weights

__all__ = [
    "WEIGHTS",
    "Database",
    "Embedder",
    "Found",
    "Index",
    "Passage",
    "Span",
    "Weights",
    "check_embedder",
    "find_embedder",
]
