"""Tables of source finders."""
