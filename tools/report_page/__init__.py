"""`paravane report`: a trace as one page for a browser."""
