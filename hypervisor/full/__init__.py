"""A bare 32-bit PC for a kernel that was written for ring 0: full virtualisation, beside Xen's way."""
