package lifecycle

import "fmt"

// Status is where a request stands. The zero value is not a valid status.
type Status string

// The statuses of a request. The last four are terminal: a request that has reached one of them
// never leaves it, unless it has failed and is redriven, see [Redrive].
const (
	Pending    Status = "pending"    // stored, waiting for a processor
	Processing Status = "processing" // a processor works on it
	Waiting    Status = "waiting"    // its processor has asked something, and let go of it
	Succeeded  Status = "succeeded"
	Failed     Status = "failed"
	Canceled   Status = "canceled"
	Expired    Status = "expired" // its time ran out before it ended otherwise
)

// Statuses lists every status in the order of a request's life.
var Statuses = []Status{Pending, Processing, Waiting, Succeeded, Failed, Canceled, Expired}

// Terminal reports whether a request has ended: no change can follow but [Redrive].
func (s Status) Terminal() bool {
	return s == Succeeded || s == Failed || s == Canceled || s == Expired
}

// ParseStatus returns the status named s.
func ParseStatus(s string) (Status, error) {
	for _, known := range Statuses {
		if s == string(known) {
			return known, nil
		}
	}
	return "", fmt.Errorf("unknown status %q, want one of %v", s, Statuses)
}
