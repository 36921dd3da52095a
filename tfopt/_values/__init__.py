"""How values are stored: first values, codecs, rows, and copies on replicas."""
