"""The state database in SQLite."""
