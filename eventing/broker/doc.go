// Package broker carries events between the functions. An ingress takes them, a queue keeps them, and a dispatcher
// posts each to the subscribers that want it. The words are those of Knative Eventing (Trigger, filter, delivery, dead
// letter): a function sees only HTTP and CloudEvents.
//
// There are two queues: [Rabbit] for many processes and [SQLite] for one. Both deliver an event at least once. What a
// subscriber answers decides what becomes of the event:
//
//	2xx                       done; an event in the answer is published and confirmed before the cause is acknowledged
//	409                       another worker has the job: again later, spends no attempt
//	429, 503, no connection,  the subscriber is down: its trigger pauses, spends no attempt
//	a prompt 502 or 504
//	401, 403, 404, 408, 425,  an attempt that failed: again after the backoff, spends an attempt
//	5xx, no answer in time
//	any other 4xx             the event is wrong: dead letter at once
//
// A message that cannot be read is a dead letter, and the messages behind it go on.
//
// # In RabbitMQ
//
// Every trigger has a queue, a quorum queue unless it says classic. An event is sent to the queues of all triggers that
// want it, by the default exchange: nothing is bound. Events travel in the binary mode of the CloudEvents AMQP binding,
// with the prefix cloudEvents_.
//
// A message without CloudEvent headers is the JSON of the system that Soundstrip replaces: it becomes an event of the
// trigger's type. The queue of a legacy trigger is written that JSON. So an old program and ours may stand on either
// side of a queue. A queue that is there already is used as it is. RabbitMQ refuses a program that declares a
// queue otherwise than it is: an old one that declares its own wants queueType: classic.
//
// A message that has to wait lies in one of the retry queues, soundstrip.retry.1s to soundstrip.retry.30m, until its
// time there is up and it returns to its trigger's queue. The dead letters of a queue are in the queue of its name with
// .dead; they have the headers x-soundstrip-reason and x-soundstrip-trigger.
//
// # When the triggers change
//
// All brokers with one AMQP_PREFIX are to be given the same triggers. Each sends an event where its own file says, so
// that in a rolling update a new trigger gets its events from the new brokers first.
//
// The queue of a trigger that has left the file gets nothing more. It is never deleted, since an old program may read
// it. The first broker that starts without the trigger logs how many messages lie there; over [SQLite], how many rows
// are a former trigger's. They are delivered when the trigger is put back.
package broker
