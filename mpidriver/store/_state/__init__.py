"""The state database: its contract, its records, and what its back ends share."""
