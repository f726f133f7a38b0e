"""What a model begins with in place of random weights: folders of Hugging Face, and bundles."""
