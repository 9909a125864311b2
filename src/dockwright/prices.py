"""What a model costs and how much it takes, by the dated list of genai-prices, which is imported when first asked."""

from __future__ import annotations

from dockwright.events import Usage


def price(model: str, usage: Usage, provider: str = "anthropic") -> float | None:
    """US dollars, by the list of genai-prices, or None where it does not know the model. Never zero by ignorance."""
    from genai_prices import Usage as Priced
    from genai_prices import calc_price

    read, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    tokens = Priced(
        input_tokens=usage.input_tokens + read + written,  # this list counts cached tokens as input, the API does not
        output_tokens=usage.output_tokens,
        cache_read_tokens=read,
        cache_write_tokens=written,
    )
    try:
        return float(calc_price(tokens, model, provider_id=provider).total_price)
    except LookupError:
        return None


def window(model: str, provider: str = "anthropic") -> int | None:
    """The context window in tokens, by the list of genai-prices."""
    from genai_prices.data_snapshot import get_snapshot

    try:
        return get_snapshot().find_provider_model(model, None, provider, None)[1].context_window
    except LookupError:
        return None
