"""While a session is in use: streaming, watching, exclusive use, and the sessions that are kept open."""
