"""Files: the one place that touches a disk."""
