"""The virtual session: what a client believes, followed from what passes by. No I/O."""
