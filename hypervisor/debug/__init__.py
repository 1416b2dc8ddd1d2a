"""A remote stub of GDB's: one domain, its memory and processors, for a debugger elsewhere.

`server` is the way in; `listener` alone is what the command line needs to understand its options.
"""
