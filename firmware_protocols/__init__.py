"""What goes over the wires of a light stage: no sockets, no ports, no threads."""
