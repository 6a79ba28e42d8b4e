"""What anticipates fine-tuning: quantities known before it, beside what it reaches."""
