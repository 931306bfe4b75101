"""The state database in MongoDB."""
