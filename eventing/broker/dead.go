package broker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
)

// DeadLetter is a message that nobody could be brought to take.
type DeadLetter struct {
	// ID is made of what the message says: the same for the same message, wherever it lies.
	ID      string `json:"id"`
	Trigger string `json:"trigger"`
	Reason  string `json:"reason"`
	// Event is nil when the message is none; Raw is the body then.
	Event *event.Event `json:"event,omitempty"`
	Raw   string       `json:"raw,omitempty"`
}

func newDeadLetter(trigger, reason string, body []byte, e event.Event, err error) DeadLetter {
	d := DeadLetter{Trigger: trigger, Reason: reason}
	sum := sha256.New()
	if err == nil {
		e.DataBase64 = !json.Valid(e.Data())
		d.Event = &e
		fmt.Fprintf(sum, "%q%q", e.Source(), e.ID())
	} else {
		d.Raw = string(body)
	}
	sum.Write(body)
	d.ID = hex.EncodeToString(sum.Sum(nil)[:4])
	return d
}

// String is one line about the dead letter.
func (d DeadLetter) String() string {
	of := "no event"
	if d.Event != nil {
		of = d.Event.Type() + " " + d.Event.Subject()
	}
	return fmt.Sprintf("%s  %s  %s: %s", d.ID, d.Trigger, of, d.Reason)
}

// Text is all that is known of the dead letter.
func (d DeadLetter) Text() (string, error) {
	text, err := json.MarshalIndent(d, "", "  ")
	return string(text), err
}

// Fate is what becomes of a dead letter.
type Fate int

// The fates.
const (
	Keep   Fate = iota
	Return      // to the trigger's queue, as if it were new
	Drop
)

// Deads has the dead letters of triggers: see [Queue].
type Deads interface {
	Dead(ctx context.Context, trigger string, fate func(DeadLetter) (Fate, error)) error
}

// Dead is [Queue.Dead] of one trigger or, when its name is empty, of all.
func (ts Triggers) Dead(
	ctx context.Context, q Deads, trigger string, fate func(DeadLetter) (Fate, error),
) error {
	if trigger != "" {
		return q.Dead(ctx, trigger, fate)
	}
	for _, t := range ts {
		if err := q.Dead(ctx, t.Name, fate); err != nil {
			return err
		}
	}
	return nil
}

// DeadCommand does what an operator types after "dead". It is the same for every queue. It writes when the queue is
// left: a reader who goes, as head does, is not to leave a dead letter in the air, which RabbitMQ would count as
// delivered.
func DeadCommand(
	args []string, out io.Writer, dead func(trigger string, fate func(DeadLetter) (Fate, error)) error,
) error {
	flags := flag.NewFlagSet("dead", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	trigger := flags.String("trigger", "", "")
	all := flags.Bool("all", false, "")
	if len(args) == 0 {
		return errors.New(DeadUsage)
	}
	if err := flags.Parse(args[1:]); err != nil {
		return fmt.Errorf("%w\n%s", err, DeadUsage)
	}
	ids, command := flags.Args(), args[0]
	fate, said, known := Keep, "listed", true
	switch command {
	case "list":
		known = len(ids) == 0
		*all = true
	case "show":
	case "replay":
		fate, said = Return, "moved back"
	case "drop":
		fate, said = Drop, "dropped"
	default:
		known = false
	}
	if !known || (len(ids) > 0) == *all {
		return errors.New(DeadUsage)
	}
	n := 0
	var lines strings.Builder
	err := dead(*trigger, func(d DeadLetter) (Fate, error) {
		if !*all && !slices.Contains(ids, d.ID) {
			return Keep, nil
		}
		n++
		line := d.String()
		if command == "show" {
			var err error
			if line, err = d.Text(); err != nil {
				return Keep, err
			}
		}
		fmt.Fprintln(&lines, line)
		return fate, nil
	})
	_, unsaid := fmt.Fprintf(out, "%s%d %s\n", &lines, n, said)
	return errors.Join(err, unsaid)
}

// DeadUsage is how [DeadCommand] is used.
const DeadUsage = `usage:
  dead list [--trigger NAME]
  dead show [--trigger NAME] ID…
  dead replay [--trigger NAME] ID…|--all   back to the queue, as if they were new
  dead drop [--trigger NAME] ID…|--all     for ever`
