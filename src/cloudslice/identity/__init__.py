"""Who may enter a room: UserSig and PrivateMapKey (docs/wire.md, 11)."""
