"""What the class of an optimizer declares, and the constructor and config that follow from it."""
