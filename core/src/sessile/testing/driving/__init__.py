"""What drives a store in the conformance kit: state machines, and processes of their own."""
