"""What settings may be: tables, values, overrides, and what is said of mistakes."""
