"""Pages: what is said and shown of a run, section by section."""
