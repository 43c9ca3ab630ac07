package broker

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/soundstrip/soundstrip/eventing"
)

// Config is what the broker's process is told.
type Config struct {
	QueueConfig
	Secret string `env:"EVENT_SECRET, required"` // signs and checks posts of events
}

// Validate reports a secret that is too short.
func (c Config) Validate() error {
	if len(c.Secret) < eventing.MinSecret {
		return fmt.Errorf("EVENT_SECRET: want at least %d bytes", eventing.MinSecret)
	}
	return nil
}

// QueueConfig says where RabbitMQ is and where events go.
type QueueConfig struct {
	Rabbit     RabbitConfig
	File       string `env:"BROKER_TRIGGERS, required"` // the file that ParseTriggers reads
	VideoQueue string `env:"VIDEO_QUEUE"`               // overrides the queue of the trigger convert
	MP3Queue   string `env:"MP3_QUEUE"`                 // overrides the queue of the trigger notify
}

// Open reads the triggers and begins to connect; see [NewRabbit].
func (c QueueConfig) Open() (*Rabbit, Triggers, error) {
	triggers, err := c.triggers()
	if err != nil {
		return nil, nil, err
	}
	queue, err := NewRabbit(c.Rabbit, triggers)
	return queue, triggers, err
}

// Dead asks for the fate of each dead letter over a connection of its own: of one trigger or, when its name is empty,
// of all. It is no broker, and makes no queue.
func (c QueueConfig) Dead(ctx context.Context, trigger string, fate func(DeadLetter) (Fate, error)) (err error) {
	triggers, err := c.triggers()
	if err != nil {
		return err
	}
	queue, err := connectRabbit(c.Rabbit, triggers, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, queue.Close(context.WithoutCancel(ctx))) }()
	return triggers.Dead(ctx, queue, trigger, fate)
}

func (c QueueConfig) triggers() (Triggers, error) {
	text, err := os.ReadFile(c.File)
	if err != nil {
		return nil, fmt.Errorf("BROKER_TRIGGERS: %w", err)
	}
	triggers, err := ParseTriggers(text)
	if err != nil {
		return nil, fmt.Errorf("BROKER_TRIGGERS: %s: %w", c.File, err)
	}
	for i := range triggers {
		switch t := &triggers[i]; {
		case t.Name == "convert" && c.VideoQueue != "":
			t.Queue = c.VideoQueue
		case t.Name == "notify" && c.MP3Queue != "":
			t.Queue = c.MP3Queue
		}
	}
	if err := triggers.Validate(); err != nil {
		return nil, fmt.Errorf("VIDEO_QUEUE, MP3_QUEUE: %w", err)
	}
	return triggers, nil
}
