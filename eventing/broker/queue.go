package broker

import (
	"context"
	"errors"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
)

// Queue keeps events for the triggers until they are done with. [Rabbit] and [SQLite] are queues.
type Queue interface {
	// Publish returns once every trigger that wants the event has it durably. An event that none wants is dropped. An
	// error that [eventing.Outcome] answers with 400 says that the event cannot be carried. Any other error is passing:
	// the event may have reached some of the triggers.
	Publish(ctx context.Context, e event.Event) error
	// Subscribe makes the caller a worker of the trigger. It waits for the queue to be there as long as ctx lets it.
	Subscribe(ctx context.Context, trigger string) (Subscription, error)
	// Dead asks for the fate of each of the trigger's dead letters, oldest first. An error ends it, and leaves the rest.
	Dead(ctx context.Context, trigger string, fate func(DeadLetter) (Fate, error)) error
}

// Subscription is one worker's. It holds one message at a time and is not for concurrent use.
type Subscription interface {
	// Next waits for a message. The one before must have been settled. An error other than ctx's means that the
	// subscription is over.
	Next(ctx context.Context) (Message, error)
	// Close returns a message that is not settled to the queue.
	Close() error
}

// Message is an event that a worker holds. It is settled once, by Ack, Retry or Bury. After an error from one of these
// the event is delivered again; what was asked for may have happened as well.
type Message interface {
	Event() event.Event
	// Attempts is how many attempts were spent on it before.
	Attempts() int
	// Trail is where it comes from, for a trace.
	Trail() Trail
	// Ack forgets the message.
	Ack(ctx context.Context) error
	// Retry makes it available again after the delay, or later, with so many attempts spent. A delay above [MaxDelay] is
	// taken as MaxDelay. Where it was tried is the context's span.
	Retry(ctx context.Context, after time.Duration, attempts int) error
	// Bury puts it to the dead letters, with the reason.
	Bury(ctx context.Context, reason string) error
}

var errOver = errors.New("the subscription is over: its message will be delivered again")
