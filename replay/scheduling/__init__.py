"""Schedules: workflows started again and again, by cron expressions and intervals."""
