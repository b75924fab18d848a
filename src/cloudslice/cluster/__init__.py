"""Several machines as one service: who owns which room, and what is wanted of tasks, in NATS."""
