"""What a call of ``generate`` took."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class RunStatistics:
    """What one call of ``generate`` took, up to where its texts were read.

    :param batch: its prompts.
    :param prompt_tokens: of all prompts.
    :param new_tokens: of all prompts.
    :param first_tokens: how many of them came from reading a prompt, and not from a decode step.
    :param sequence_length: the longest prompt with its new tokens.
    :param ttft_s: seconds until the first prompt had its first token.
    :param decode_s: seconds spent in decode steps that made a token of this call.
    :param decode_steps: how many there were.
    """

    batch: int
    prompt_tokens: int
    new_tokens: int
    first_tokens: int
    sequence_length: int
    ttft_s: float
    decode_s: float
    decode_steps: int

    @property
    def tokens_per_s_user(self) -> float:
        """Tokens a second that one user sees: 1 / latency of a decode step; 0 if there was none."""
        return self.decode_steps / self.decode_s if self.decode_s else 0.0

    @property
    def tokens_per_s(self) -> float:
        """Tokens a second of all users together, in decode; 0 if there was no step."""
        return (self.new_tokens - self.first_tokens) / self.decode_s if self.decode_s else 0.0
