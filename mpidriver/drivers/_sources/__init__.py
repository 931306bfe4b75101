"""The source driver: from a catalogue of components to its RM table."""
