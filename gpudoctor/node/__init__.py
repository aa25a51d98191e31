"""The seam: nothing else touches a machine."""
