"""All sessions of a store: finding, searching, archiving, erasing."""
