"""Node to facts, one module per facts module. A collector's annotations say what it needs and gives."""
