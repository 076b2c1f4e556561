"""Which sizes and which values to try: corners, recipes, and what Hypothesis draws."""
