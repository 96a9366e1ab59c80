"""Energy grids, dielectric functions, and everything that is derived from them."""
