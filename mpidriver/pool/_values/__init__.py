"""Values that stay on ranks or are shared by all, and reductions of them."""
