"""The spool: finished slices wait here for their upload, and say themselves what they are."""
