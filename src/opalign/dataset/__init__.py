"""Tables of structures and spectra, their splits, and the formats of others."""
