"""Server connections: who gets which (planner), and how they are opened, lent, reset and closed."""
