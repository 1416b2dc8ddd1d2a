"""The engine: its C interface, what is found out about its insides at run time, how its deaths are survived."""
