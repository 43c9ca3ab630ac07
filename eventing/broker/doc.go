// Package broker carries events between the functions: an ingress that takes them, a queue that keeps them, and a dispatcher
// that posts each to the subscribers that want it, in the vocabulary of Knative Eventing (Trigger, filter, delivery,
// dead letter), so that functions see only HTTP and CloudEvents.
//
// There are two queues: [Rabbit] for many processes and [SQLite] for one. Delivery is at least once on both. What a subscriber
// answers decides what becomes of an event:
//
//	2xx                       done; an event in the answer is published and confirmed before the cause is acknowledged
//	409                       another worker is at it: again later, spends no attempt
//	429, 503, no connection,  the subscriber is down: its trigger pauses, spends no attempt
//	a prompt 502 or 504
//	401, 403, 404, 408, 425,  a try that failed: again after the backoff, spends an attempt
//	5xx, no answer in time
//	any other 4xx             the event is wrong: dead letter at once
//
// # In RabbitMQ
//
// Events go to the topic exchange soundstrip, by type; every trigger has a quorum queue bound to it. Events travel in the
// binary mode of the CloudEvents AMQP binding with the prefix cloudEvents_. A message without CloudEvent headers is the JSON of
// the system that Soundstrip replaces and is wrapped as the trigger's type; a legacy trigger is written that JSON, so that old
// programs and ours may stand on either side of a queue. A queue that is there already is used as it is; one that we made is a
// quorum queue, and an old program that declares it otherwise is refused by RabbitMQ.
//
// A message that has to wait lies in one of the queues soundstrip.retry.1s to .30m until its time there is up and it returns to
// its trigger's queue. Dead letters are in the trigger's queue's name with .dead, with the headers x-soundstrip-reason and
// x-soundstrip-trigger.
package broker
