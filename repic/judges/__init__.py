"""Language models as judges: one client for endpoints that speak OpenAI's chat completions.

Rewards and metrics ask by the functions of ``questions``; a question that could not be answered
gives None, never a number.
"""
