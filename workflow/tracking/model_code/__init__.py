"""What each logged model gets a copy of, as its code: it imports nothing of this project."""
