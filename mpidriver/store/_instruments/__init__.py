"""How raw frames of an instrument are read."""
