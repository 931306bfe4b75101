"""Items in child processes of their rank, which may die without harm to anything else."""
