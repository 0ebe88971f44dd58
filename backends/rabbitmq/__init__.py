"""The RabbitMQ queue of hints: `amqp://`, `amqps://`."""

from replay.backends.rabbitmq.queue import RabbitQueue, open_queue

__all__ = ["RabbitQueue", "open_queue"]
