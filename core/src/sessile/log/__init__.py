"""The log as pure values: entries, headers, lineage, stamping, leases, ids, encoding. Nothing here reads or writes."""
