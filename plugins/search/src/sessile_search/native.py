"""What the stores of servers share that have no search of their own."""

from __future__ import annotations

from abc import abstractmethod

from sessile.store import NativeStore, SearchQuery
from sessile_search.index import SearchIndex


class IndexedStore(NativeStore):
    """A store on a server whose search goes by an index in the session home of whoever searches."""

    @abstractmethod
    def place(self) -> tuple[str, ...]:
        """What tells this store from all others, its kind first."""

    def search(self, query: SearchQuery, limit: int, offset: int) -> list[tuple[str, int]] | None:
        """(log, position) of the messages that may be what a query asks for."""
        return SearchIndex.of(*self.place()).search(self, query, limit, offset)

    def pruned(self, log: str, keep: int) -> None:
        SearchIndex.of(*self.place()).forget(log, keep)
