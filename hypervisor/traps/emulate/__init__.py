"""Instructions that ring 1 and ring 3 may not execute and that the hypervisor carries out for them."""
