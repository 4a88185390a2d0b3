"""What goes in and out as files: prompts, demonstrations, preferences."""
