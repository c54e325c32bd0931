"""What is quantized and how: recipes as data, and one file per backend that applies them."""
