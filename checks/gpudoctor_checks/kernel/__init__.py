"""What the kernel log and the devices under it tell."""
