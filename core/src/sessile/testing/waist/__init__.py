"""What the conformance kit asks of a store, a file for each capability."""
