"""A model, imported when somebody asks for it by its name."""


class Parrot:
    """Says everything twice."""

    def generate(self, request):
        text = request.messages[-1].text
        return f"{text} {text}"
