package job

import "slices"

// Links are what can be done with a job, as paths on the gateway.
type Links struct {
	Self   string `json:"self"`
	MP3    string `json:"mp3,omitempty"`    // where it is, or will be
	Cancel string `json:"cancel,omitempty"` // POST
	Retry  string `json:"retry,omitempty"`  // POST
}

// Links gives those that the job's state allows.
func (j *Job) Links() Links {
	self := "/jobs/" + j.ID
	l := Links{Self: self}
	switch {
	case !j.State.Finished():
		l.MP3, l.Cancel = self+"/mp3", self+"/cancel"
	case j.State.Retryable() && !j.handedMP3():
		l.Retry = self + "/retry"
	case j.State != Expired:
		l.MP3 = self + "/mp3"
	}
	return l
}

// Retryable reports whether a job in the state can be started anew, unless it was handed over with its MP3.
func (s State) Retryable() bool { return slices.Contains(retried.from, s) }
