"""The native gateway: the commonest traps of a vcpu, served in C where the library was built."""
