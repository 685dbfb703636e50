"""How hands are held, how they move, and from where they are seen."""
