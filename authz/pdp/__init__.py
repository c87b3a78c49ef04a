"""Decision points: who answers Cedar's question."""
