"""The page in the browser. ``app.py`` alone knows Gradio; what the page does stands in small files beside it."""
