"""Text to types, one module per kind of text. After this nobody parses a string."""
