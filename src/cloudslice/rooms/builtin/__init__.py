"""Our own rooms: anchors come in by WHIP, through one UDP port."""
