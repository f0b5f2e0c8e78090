"""What is done with an animal: sessions, weighings, water, surgeries."""
