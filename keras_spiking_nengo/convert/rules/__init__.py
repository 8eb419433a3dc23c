"""What is known of each Keras layer, a file for each family."""
