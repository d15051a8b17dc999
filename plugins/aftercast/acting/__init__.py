"""What leaves the house: tickets, messages, write-backs and approved actions, each once, all written down.

`outbox` remembers what was sent, `trackers` and `channels` know how each kind of other side is asked, `deliveries` takes planned effects
through them; `responding` plans for current incidents, `writebacks` carries plans out, and `audit` keeps what was decided.
"""
