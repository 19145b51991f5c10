"""An index of the words in a store's messages, for stores that have none of their own. See the README."""

from sessile_search.fulltext import find_rows, make_table, places_of, text_of, words_of, write_anew
from sessile_search.index import SearchIndex
from sessile_search.native import IndexedStore

__all__ = ["IndexedStore", "SearchIndex", "find_rows", "make_table", "places_of", "text_of", "words_of", "write_anew"]
