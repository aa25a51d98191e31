"""The links between devices and the processor: width, speed, errors, and what blocks traffic between peers."""
