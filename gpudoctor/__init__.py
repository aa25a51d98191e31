"""gpudoctor: says why a GPU node is broken or slow, what to do first, and what could not be seen."""

__version__ = "0.1.0"
