"""Files of single spectra, one module a format."""
