"""What the benches share: servers to compare, load generators, figures and how they are shown."""
