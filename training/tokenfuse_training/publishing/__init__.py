"""From a trained model to a bundle: golden outputs, precisions, card."""
