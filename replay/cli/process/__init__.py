"""The process around a worker: logging, POSIX signals, supervision, health port."""
