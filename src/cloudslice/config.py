"""Settings: one TOML file, with environment overrides; read once, at start."""
