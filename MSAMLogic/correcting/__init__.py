"""What a further click is about, and what the mask becomes there."""
