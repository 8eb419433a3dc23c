"""What training takes besides layers."""
