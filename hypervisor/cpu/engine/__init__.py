"""The engine: its C interface, what is found out about its insides, and how its deaths are survived."""
