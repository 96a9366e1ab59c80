"""Tables of others, one file a format: into a spectra table, or out of one."""
