"""Who tells the reward which beings are in a picture: the data itself, its texts, or a model."""
