"""`paravane bench`: what a machine with many domains does, as tables."""
