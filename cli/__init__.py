"""The command `tidelog`."""
