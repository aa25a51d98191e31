"""One memory snapshot explained: what filled the memory, what pins it, and what other settings would have done."""
