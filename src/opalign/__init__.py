"""Opalign: optical spectra of crystals from their structure."""

__version__ = "0.1.0"
