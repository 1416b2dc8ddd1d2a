"""`paravane explore`: one kernel under many seeds, until one of them breaks it."""
