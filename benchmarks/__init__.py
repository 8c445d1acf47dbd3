"""What things cost, measured; each page of docs/ with figures says which command makes them."""
