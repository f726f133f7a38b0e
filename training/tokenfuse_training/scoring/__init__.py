"""How right an answer is, and how sure the mean of many is."""
