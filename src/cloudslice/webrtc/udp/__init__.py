"""UDP: the sockets, the addresses, and who a datagram belongs to."""
