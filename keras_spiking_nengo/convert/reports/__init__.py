"""What is shown of two models beside each other."""
