"""What every feature builds on: servers as data, and the ports that features implement."""
