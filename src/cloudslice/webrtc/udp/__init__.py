"""The UDP port that all peer connections share."""
