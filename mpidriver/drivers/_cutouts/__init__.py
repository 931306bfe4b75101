"""What the cutout driver is made of."""
