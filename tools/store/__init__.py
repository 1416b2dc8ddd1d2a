"""`paravane store`: xenstore of a machine that runs."""
