"""What hands hold and wear, and what else is near them."""
