"""Who may enter a room: UserSig and PrivateMapKey (contract F)."""
