"""Moving sessions: one by one, in phases, and all at once with the roles of two servers exchanged."""
