"""What a model finds in videos of any length and size: numbered objects, frame by frame, and the files about them."""
