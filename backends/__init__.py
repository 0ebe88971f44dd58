"""Stores, queues and buses. Imported as `replay.backends` only; core and ports know none of them."""
