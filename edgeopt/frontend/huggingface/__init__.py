"""Folders of Hugging Face: a configuration and weights, as ``save_pretrained`` writes them."""
