"""What can be seen of a run: traces, idle times, progress, and costs learned from it."""
