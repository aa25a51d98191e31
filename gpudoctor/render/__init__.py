"""A report to text: terminal, JSON, Markdown, explain. Nothing here decides anything."""
