"""What the class of an optimizer declares, and the constructor and config made from it."""
