"""Connect anywhere, write: what a standby has refused is learned, and goes to the primary from then on."""
