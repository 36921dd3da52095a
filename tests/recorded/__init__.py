"""State that tfopt wrote before, and what made it: a package, since a pickle names its classes."""
