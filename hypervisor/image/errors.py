"""The one way an image is refused."""


class ImageError(Exception):
    """The image cannot be run here; the message is one sentence that says what is wrong with it."""
