"""From a real picture's latents back to the noise that makes it again."""
