"""What is behind the hand."""
