"""An index of the words in a store's messages, for stores that have none of their own. See the README."""

from sessile_search.fulltext import expression, make_table, text_of, words_of, write_anew
from sessile_search.index import SearchIndex

__all__ = ["SearchIndex", "expression", "make_table", "text_of", "words_of", "write_anew"]
