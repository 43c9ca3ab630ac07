"""What the stand-ins for the old programs share."""
import os
import signal
from http.server import ThreadingHTTPServer

import gridfs
import pika
import pymongo


def serve(handler):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    print('"listening" "address":"127.0.0.1:%d"' % server.server_address[1], flush=True)
    server.serve_forever()


def files():
    """The two databases of GridFS."""
    client = pymongo.MongoClient(os.environ["MONGODB_URI"])
    return gridfs.GridFS(client[os.environ["MONGODB_VIDEOS_DB"]]), gridfs.GridFS(client[os.environ["MONGODB_MP3S_DB"]])


def channel():
    """A channel of RabbitMQ, with the queues declared as the system's forks do."""
    ch = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"] + "?heartbeat=0")).channel()
    for queue in os.environ["VIDEO_QUEUE"], os.environ["MP3_QUEUE"]:
        ch.queue_declare(queue=queue, durable=True)
    return ch


def publish(ch, queue, body):
    ch.basic_publish(exchange="", routing_key=queue, body=body,
                     properties=pika.BasicProperties(delivery_mode=pika.spec.PERSISTENT_DELIVERY_MODE))


def consume(queue, work):
    """Calls work for each message, acknowledges those for which it says nothing, and puts back the others.

    At SIGTERM it ends between two messages. The old programs end within one, which is then done twice now and then."""
    ch, state = channel(), {"busy": False, "ended": False}

    def end(*_):
        state["ended"] = True
        if not state["busy"]:
            os._exit(0)

    def on_message(ch, method, _, body):
        state["busy"] = True
        if work(ch, body):
            ch.basic_nack(delivery_tag=method.delivery_tag)
        else:
            ch.basic_ack(delivery_tag=method.delivery_tag)
        state["busy"] = False
        if state["ended"]:
            ch.connection.close()
            os._exit(0)

    signal.signal(signal.SIGTERM, end)

    ch.basic_consume(queue=queue, on_message_callback=on_message)
    print('"listening" "address":"%s"' % queue, flush=True)
    ch.start_consuming()
