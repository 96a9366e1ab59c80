"""The command ``opalign``: one file a command; parses, calls, prints."""
