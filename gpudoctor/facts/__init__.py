"""Types only: what is known of a machine. Every field says where it comes from."""
