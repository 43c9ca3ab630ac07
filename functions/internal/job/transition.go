package job

import (
	"fmt"
	"slices"
	"strings"
)

// transition is a row of the table of states: a step that moves a job.
type transition struct {
	step  string // the method of [Store]
	from  []State
	to    State
	who   string
	guard string // what must be true besides; the step checks it
}

// unfinished are the states in which an MP3 is still to come.
var unfinished = []State{Stored, Queued, Converting}

// The transitions. A job that is new to the store is Stored; an adopted one has the state that it comes with.
var (
	queued    = transition{"Queued", []State{Stored}, Queued, "upload, jobs", "the broker took the event"}
	resent    = transition{"Resent", []State{Stored}, Queued, "sweep", "the broker took the event"}
	claimed   = transition{"Claim", append(slices.Clone(unfinished), HandedOver), Converting, "convert", "no lease runs"}
	finished  = transition{"Finish", []State{Converting}, Converted, "convert", "the epoch is the worker's"}
	failed    = transition{"Fail", []State{Converting}, Failed, "convert", "the epoch is the worker's"}
	released  = transition{"Release", []State{Converting}, Queued, "convert", "the epoch is the worker's"}
	givenUp   = transition{"GiveUp", unfinished, Failed, "sweep", "no lease runs"}
	noticed   = transition{"Noticed", []State{Converted, HandedOver}, Notified, "notify", "every channel is done"}
	cancelled = transition{"Cancel", unfinished, Cancelled, "the owner", ""}
	retried   = transition{"Retry", []State{Failed, Cancelled, HandedOver}, Stored, "the owner", "the video is kept"}
	expired   = transition{"Expire", []State{Converted, Notified, Failed, Cancelled, HandedOver}, Expired, "sweep",
		"its time is up"}
	handedOver = transition{"HandOver", []State{Queued, Converted}, HandedOver, "sweep", "nobody answered the event"}
)

// transitions is the table.
var transitions = []transition{
	queued, resent, claimed, finished, failed, released, givenUp, noticed, cancelled, retried, expired, handedOver,
}

// move takes the job along a transition, or says that its state does not allow that.
func (r *record) move(t transition) error {
	if !slices.Contains(t.from, r.State) {
		return ErrState
	}
	r.State = t.to
	return nil
}

// String is the row as the package's documentation has it.
func (t transition) String() string {
	from := make([]string, len(t.from))
	for i, s := range t.from {
		from[i] = string(s)
	}
	row := fmt.Sprintf("%-9s%-53s%-12s%-14s%s", t.step, strings.Join(from, ", "), t.to, t.who, t.guard)
	return strings.TrimRight(row, " ")
}
