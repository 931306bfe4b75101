"""One rank: worker for whoever sends it tasks, leader of what its task scatters."""
